//go:build linux || windows || darwin

package drill

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/seed329817d7/contain/registry"
)

// argv0 is what a process of a drill is called. It is how the executable knows
// that it is to take a role; an environment variable would be lost to a daemon
// that clears its environment.
const argv0 = "contain-drill"

// script says what a process does. It travels as the second argument, behind
// the word that is unique to the drill.
type script struct {
	Role string `json:",omitempty"`
	// Next is what this process starts: the backend, for an owner.
	Next *script `json:",omitempty"`

	// Of owners, and of what starts them.
	Channel  string   `json:",omitempty"` // the inherited reporting channel
	Leash    string   `json:",omitempty"` // the inherited standard input of members
	Strategy string   `json:",omitempty"` // "" starts the backend plainly: the control
	Setpgid  bool     `json:",omitempty"`
	Backend  int      `json:",omitempty"` // uid to start the backend under
	DropTo   int      `json:",omitempty"` // uid to change to: an owner after Install
	Bound    bool     `json:",omitempty"` // a plain start with a parent-death signal
	Proc     bool     `json:",omitempty"` // mount a /proc of one's own
	Limit    *rlimits `json:",omitempty"`
	Reap     bool     `json:",omitempty"` // an init that waits for its children

	// Of members.
	Shape    string   `json:",omitempty"`
	Branches []string `json:",omitempty"` // shapes that a leader starts
	Crowd    int      `json:",omitempty"` // further processes
	At       int      `json:",omitempty"` // a crowd member's place
	Chain    bool     `json:",omitempty"` // a chain of processes, each the next one's parent
}

// rlimits are those that an owner takes on before it installs anything.
type rlimits struct{ Files, Processes uint64 }

// The roles.
const (
	roleOwner  = "owner"
	roleRelay  = "relay"  // between owner and backend in a control: what a supervisor is to the drill
	roleInit   = "init"   // process 1 of a PID namespace
	roleOuter  = "outer"  // an owner around the owner
	roleMember = "member" // of the tree, leader included
	roleFork   = "fork"   // starts Next and exits
)

// nonce is the word of the drill that this process is part of.
var nonce string

// Main takes the role that this process was started for, and then never
// returns. It returns at once in a process that was not started by a drill. The
// strategies given can be drilled in addition to those of registry.Default.
//
// It belongs into an init function, so that neither flags are parsed nor tests run.
func Main(own ...registry.Strategy) {
	if len(os.Args) != 3 || os.Args[0] != argv0 {
		return
	}
	var s script
	if err := json.Unmarshal([]byte(os.Args[2]), &s); err != nil {
		fail(fmt.Errorf("read the role: %w", err))
	}
	nonce = os.Args[1]
	switch s.Role {
	case roleOwner:
		playOwner(&s, own)
	case roleOuter:
		playOuter(&s, own)
	case roleInit:
		playInit(&s)
	case roleRelay:
		playRelay(&s)
	case roleFork:
		playFork(&s)
	case roleMember:
		playMember(&s)
	default:
		fail(fmt.Errorf("no role %q", s.Role))
	}
	os.Exit(0)
}

// fail ends a process that cannot play its role; the owner's standard error
// reaches the driver.
func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// command is a process of this drill that plays s, with this one's leash and
// channel as its streams.
func command(s *script) *exec.Cmd {
	return &exec.Cmd{Path: self(), Args: s.args(nonce), Stdin: os.Stdin, Stdout: os.Stdout}
}

func (s *script) args(nonce string) []string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return []string{argv0, nonce, string(text)}
}

// self is this executable, wherever its file may be by now.
func self() string {
	path, err := os.Executable()
	if err != nil {
		fail(fmt.Errorf("find this executable: %w", err))
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// recordSize is the size of a report: a PID, when that process was born, and a
// shape. It is far below PIPE_BUF, so that reports never mix, pipe(7).
const recordSize = 40

// record is a report of this process. Where the channel itself tells the sender's
// PID as the reader sees it, that one counts.
func record(shape string) (r [recordSize]byte) {
	binary.LittleEndian.PutUint32(r[:], uint32(os.Getpid()))
	binary.LittleEndian.PutUint64(r[4:], born())
	copy(r[12:], shape)
	return r
}

// message is a report that has been read.
type message struct {
	pid   int
	born  uint64 // 0 where the system has a better proof of identity
	shape string
}

func readRecord(r []byte) message {
	return message{
		pid:   int(binary.LittleEndian.Uint32(r)),
		born:  binary.LittleEndian.Uint64(r[4:]),
		shape: strings.TrimRight(string(r[12:]), "\x00"),
	}
}

// report tells the driver that this process is there, and what it is.
func report(channel *os.File, shape string) {
	r := record(shape)
	if _, err := channel.Write(r[:]); err != nil {
		fail(fmt.Errorf("report to the driver: %w", err))
	}
}
