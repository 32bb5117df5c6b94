// Package cgroupfs makes, kills and removes cgroups (version 2) of this
// process's own. It is for Linux; elsewhere it is empty.
package cgroupfs
