//go:build linux || windows || darwin

package drill

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// startLimit bounds what no guarantee speaks of: starts, replies, cleaning up. It is long
// enough to tell what hangs from what is slow.
const startLimit = 2 * time.Minute

// stage is one owner with its backend, and what the driver knows of them.
type stage struct {
	nonce   string
	first   *exec.Cmd // the owner, or what started it
	reports channel
	leash   *os.File // members live until this is closed
	orders  *os.File
	replies chan reply
	stderr  *beginning

	mu           sync.Mutex
	owner, relay *proc
	leader       *proc
	members      []*proc // leader included
	chained      bool    // a chain has begun
	broken       error
	changed      chan struct{}
	ended        chan struct{} // nobody holds the members' end of the channel
	pipes        sync.WaitGroup
}

// setUp starts an owner and waits until its strategy is installed. first is the
// script of the owner or of what starts it.
func setUp(ctx context.Context, exe string, first *script, adapt func(*exec.Cmd)) (*stage, error) {
	st := &stage{
		nonce: fmt.Sprintf("drill-%016x%016x", rand.Uint64(), rand.Uint64()), stderr: new(beginning),
		replies: make(chan reply, 8), changed: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	err := st.launch(exe, first, adapt)
	if err != nil {
		return nil, fmt.Errorf("start a decoy owner: %w", err)
	}
	rep, err := st.await(ctx)
	if err == nil {
		err = st.until(ctx, func() bool { return st.owner != nil })
	}
	if err != nil {
		st.tearDown()
		if rep.Unsupported {
			return nil, fmt.Errorf("%w: it does not work there: %w", ErrSkipped, err)
		}
		return nil, fmt.Errorf("set up a decoy owner: %w", err)
	}
	return st, nil
}

// launch starts the first process with every pipe that it needs.
func (st *stage) launch(exe string, first *script, adapt func(*exec.Cmd)) (err error) {
	var theirs []*os.File
	pipe := func(ours **os.File, weWrite bool) *os.File {
		r, w, e := os.Pipe()
		err = errors.Join(err, e)
		if weWrite {
			r, w = w, r
		}
		*ours = r
		theirs = append(theirs, w)
		return w
	}
	var replies, stderr *os.File
	cmd := &exec.Cmd{Path: exe}
	cmd.Stdin = pipe(&st.orders, true)
	cmd.Stdout = pipe(&replies, false)
	cmd.Stderr = pipe(&stderr, false)
	leash := pipe(&st.leash, true)
	reports, end, e := newChannel()
	st.reports = reports
	theirs = append(theirs, end)
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if err = errors.Join(err, e); err != nil {
		return err
	}
	// A process with the race detector else sleeps a second before it exits.
	cmd.Env = append(os.Environ(), "GORACE="+strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	if adapt != nil {
		adapt(cmd)
	}
	first.Channel, first.Leash = pass(cmd, end), pass(cmd, leash)
	cmd.Args = first.args(st.nonce)
	if err := cmd.Start(); err != nil {
		for _, f := range []*os.File{st.orders, st.leash, replies, stderr} {
			f.Close()
		}
		reports.close()
		return err
	}
	st.first = cmd
	st.pipes.Go(func() { st.readReplies(replies) })
	st.pipes.Go(func() { _, _ = io.Copy(st.stderr, stderr); stderr.Close() })
	st.pipes.Go(st.readReports)
	return nil
}

func (st *stage) readReplies(f *os.File) {
	defer f.Close()
	defer close(st.replies)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			r.Err = fmt.Sprintf("reply %q: %v", lines.Text(), err)
		}
		st.replies <- r
	}
}

// readReports identifies each process as it reports itself.
func (st *stage) readReports() {
	defer close(st.ended)
	for {
		m, err := st.reports.next()
		if errors.Is(err, io.EOF) {
			return
		}
		var p *proc
		if err == nil {
			p, err = openProc(m, st.nonce)
		}
		st.enter(p, m.shape, err)
		if err != nil {
			return
		}
	}
}

// enter takes note of a process; p is nil if it has gone already.
func (st *stage) enter(p *proc, shape string, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case err != nil:
		st.broken = cmp.Or(st.broken, err)
	case shape == shapeChain:
		st.chained = true
		if p != nil {
			p.close()
		}
	case p == nil:
	case shape == shapeOwner:
		st.owner = p
	case shape == shapeRelay:
		st.relay = p
	default:
		if shape == shapeLeader {
			st.leader = p
		}
		st.members = append(st.members, p)
	}
	select {
	case st.changed <- struct{}{}:
	default:
	}
}

// until waits for a condition of what has been reported.
func (st *stage) until(ctx context.Context, holds func() bool) error {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	for {
		st.mu.Lock()
		ok, err := holds(), st.broken
		st.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-st.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.ended:
			return st.explain(errors.New("everything ended before the tree was complete"))
		case <-limit.C:
			return st.explain(fmt.Errorf("after %v only these have reported: %s", startLimit, names(st.members)))
		}
	}
}

// assemble waits until the tree is complete, and stops who is to be stopped.
func (st *stage) assemble(ctx context.Context, t tree, relay bool) error {
	err := st.until(ctx, func() bool {
		return len(st.members) == t.size() && st.leader != nil && st.chained == t.chain && (st.relay != nil) == relay
	})
	if err != nil {
		return err
	}
	for _, p := range st.members {
		if p.shape == shapeStopped {
			if err := p.pause(); err != nil {
				return err
			}
		}
	}
	return nil
}

// order sends an order and waits for the reply.
func (st *stage) order(ctx context.Context, order string) (reply, error) {
	if err := st.send(order); err != nil {
		return reply{}, err
	}
	return st.await(ctx)
}

// send sends an order that has no reply, or whose reply does not matter.
func (st *stage) send(order string) error {
	if _, err := io.WriteString(st.orders, order+"\n"); err != nil {
		return st.explain(fmt.Errorf("tell the owner to %s: %w", order, err))
	}
	return nil
}

func (st *stage) await(ctx context.Context) (reply, error) {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case r, ok := <-st.replies:
		switch {
		case !ok:
			return r, st.explain(errors.New("the owner has ended"))
		case r.Err != "":
			return r, st.explain(errors.New(r.Err))
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-limit.C:
		return reply{}, st.explain(fmt.Errorf("no reply within %v", startLimit))
	}
}

// explain adds what the processes have written to standard error.
func (st *stage) explain(err error) error {
	if words := st.stderr.String(); words != "" {
		return fmt.Errorf("%w (standard error: %s)", err, words)
	}
	return err
}

// tearDown ends everything that is left, by force, and waits for it.
func (st *stage) tearDown() {
	_ = st.first.Process.Kill()
	_ = st.first.Wait()
	end := time.Now().Add(startLimit)
	for {
		st.mu.Lock()
		all := slices.Clone(st.members)
		for _, p := range []*proc{st.owner, st.relay} {
			if p != nil {
				all = append(all, p)
			}
		}
		st.mu.Unlock()
		found := st.census(false)
		for _, p := range append(all, found...) {
			_ = p.kill()
		}
		left := alive(context.Background(), append(all, found...), end)
		closeAll(found)
		if len(found) == 0 || len(left) > 0 {
			break
		}
	}
	st.leash.Close()
	st.orders.Close()
	select {
	case <-st.ended:
	case <-time.After(time.Until(end)):
	}
	st.reports.close()
	st.pipes.Wait()
	closeAll(st.members)
	for _, p := range []*proc{st.owner, st.relay} {
		if p != nil {
			p.close()
		}
	}
}

func closeAll(ps []*proc) {
	for _, p := range ps {
		p.close()
	}
}

// names lists processes for people: shape and PID.
func names(ps []*proc) string {
	words := make([]string, len(ps))
	for i, p := range ps {
		words[i] = fmt.Sprintf("%s %d", p.shape, p.pid)
	}
	if len(words) > 12 {
		words = append(words[:12], fmt.Sprintf("and %d more", len(ps)-12))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// beginning keeps the beginning of what is written to it.
type beginning struct {
	mu sync.Mutex
	b  []byte
}

const beginningSize = 600

// Write keeps what fits.
func (t *beginning) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b[:min(len(b), beginningSize-len(t.b))]...)
	return len(b), nil
}

// String returns it on one line.
func (t *beginning) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.b)), " ")
}
