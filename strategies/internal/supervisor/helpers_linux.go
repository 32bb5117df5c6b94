package supervisor

import "github.com/seed329817d7/contain/strategies/internal/entry"

// Helpers says whether this architecture has the helper's program of package entry.
const Helpers = entry.OwnStacks
