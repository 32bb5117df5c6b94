package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	job "github.com/seed329817d7/contain/strategies/windows"
)

// envEnclosed has this test binary put itself into a job with these limits, or
// none, before it looks.
const envEnclosed = "CONTAIN_TEST_ENCLOSED"

func TestEnclosingJob(t *testing.T) {
	if jobs := os.Getenv(envEnclosed); jobs != "" {
		enclose(jobs)
		text, err := json.Marshal(findEnclosing())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("found %s\n", text)
		return
	}
	if in, err := job.InAnyJob(windows.CurrentProcess()); in || err != nil {
		t.Skipf("this process is in a job of somebody else's (%v, %v)", in, err)
	}
	for jobs, want := range map[string]enclosingJob{
		"none":      {Breakaway: breakawayAllowed},
		"ok":        {InJob: true, Breakaway: breakawayAllowed},
		"closed":    {InJob: true, Breakaway: breakawayRefused},
		"closed ok": {InJob: true, Breakaway: breakawayRefused}, // the outer one keeps it
		"ok ok":     {InJob: true, Breakaway: breakawayAllowed},
	} {
		t.Run(jobs, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestEnclosingJob$")
			cmd.Env = append(os.Environ(), envEnclosed+"="+jobs)
			out, err := cmd.CombinedOutput()
			_, rest, ok := bytes.Cut(out, []byte("found "))
			if err != nil || !ok {
				t.Fatalf("%v\n%s", err, out)
			}
			line, _, _ := bytes.Cut(rest, []byte("\n"))
			var got enclosingJob
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if got.InJob != want.InJob || got.Breakaway != want.Breakaway {
				t.Errorf("%s", line)
			}
			if got.Limits == nil || !got.LimitsKnown && got.Reason == "" {
				t.Errorf("limits are neither known nor is it said why: %s", line)
			}
		})
	}
}

// enclose puts this process into jobs, the outermost first.
func enclose(jobs string) {
	for _, kind := range strings.Fields(jobs) {
		var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
		switch kind {
		case "none":
			return
		case "ok":
			info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
		}
		job, err := windows.CreateJobObject(nil, nil)
		if err == nil {
			_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
		}
		if err == nil {
			err = windows.AssignProcessToJobObject(job, windows.CurrentProcess())
		}
		if err != nil {
			panic(err)
		}
	}
}

func TestLimitNames(t *testing.T) {
	got := limitNames(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK | 0x80000000)
	if want := "[JOB_OBJECT_LIMIT_BREAKAWAY_OK JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE 0x80000000]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
