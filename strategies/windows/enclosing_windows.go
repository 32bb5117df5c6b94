package windows

import (
	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/strategies/internal/jobobject"
)

// InAnyJob reports whether a process, of which the handle has the right
// PROCESS_QUERY_LIMITED_INFORMATION, is in a job object, this package's or another's.
//
// https://learn.microsoft.com/windows/win32/api/jobapi/nf-jobapi-isprocessinjob
func InAnyJob(process windows.Handle) (bool, error) { return jobobject.Contains(process, 0) }
