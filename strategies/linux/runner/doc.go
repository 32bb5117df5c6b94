// Package runner runs one command, for a process that exists for nothing else, as
// linux/cgroup and linux/subreaper run it, without a registry and all that comes
// with one. It is for a launcher that is started in front of every command: contain
// run without flags. What it cannot do, it leaves to a resolution in the registry.
//
// It is empty on other systems than Linux.
package runner
