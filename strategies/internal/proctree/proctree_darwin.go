package proctree

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// szomb is SZOMB of <sys/proc.h>, which x/sys/unix does not have.
const szomb = 5

func fromKinfo(k *unix.KinfoProc) Process {
	start := k.Proc.P_starttime
	return Process{
		PID:    int(k.Proc.P_pid),
		PPID:   int(k.Eproc.Ppid),
		PGID:   int(k.Eproc.Pgid),
		Start:  uint64(start.Sec)*1e6 + uint64(start.Usec),
		Name:   unix.ByteSliceToString(k.Proc.P_comm[:]),
		Zombie: k.Proc.P_stat == szomb,
	}
}

func lookup(pid int) (Process, error) {
	table, err := unix.SysctlKinfoProcSlice("kern.proc.pid", pid)
	if err != nil {
		return Process{}, fmt.Errorf("sysctl kern.proc.pid: %w", err)
	}
	if len(table) == 0 {
		return Process{}, os.ErrProcessDone
	}
	return fromKinfo(&table[0]), nil
}

func descendants(root int) ([]Process, error) {
	table, err := all()
	return Below(table, root), err
}

func all() ([]Process, error) {
	kinfo, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, fmt.Errorf("sysctl kern.proc.all: %w", err)
	}
	table := make([]Process, len(kinfo))
	for i := range kinfo {
		table[i] = fromKinfo(&kinfo[i])
	}
	return table, nil
}

// signal checks and kills; macOS has nothing like a pidfd, so p may exit, and
// its PID be given away, between the two.
func signal(p Process, sig syscall.Signal) error {
	if p.PID <= 0 || p.Start == 0 {
		return fmt.Errorf("not an identified process: %w", unix.EINVAL)
	}
	if err := recheck(p); err != nil {
		return err
	}
	if err := unix.Kill(p.PID, sig); err == unix.ESRCH {
		return os.ErrProcessDone
	} else if err != nil {
		return err
	}
	return nil
}
