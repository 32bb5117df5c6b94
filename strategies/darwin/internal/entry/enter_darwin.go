package entry

import "github.com/seed329817d7/contain/strategies/darwin/internal/xnu"

func init() { Enter(xnu.System{}) }
