package windows

import (
	"sync"
	"time"

	"golang.org/x/sys/windows"
)

// recheckEvery is how often the jobs are looked at without a message: messages
// of a job are not guaranteed to arrive.
const recheckEvery = 500 * time.Millisecond

// watcher follows all backends of this process with one completion port and,
// while there are any, one goroutine.
type watcher struct {
	mu       sync.Mutex
	port     windows.Handle // made at the first use, kept
	lastKey  uintptr
	backends map[uintptr]*backend
	running  bool
}

// associate directs the messages of job to the port, under a key that is not
// used again.
func (w *watcher) associate(job windows.Handle) (key uintptr, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.port == 0 {
		if w.port, err = windows.CreateIoCompletionPort(windows.InvalidHandle, 0, 0, 1); err != nil {
			return 0, err
		}
	}
	w.lastKey++
	return w.lastKey, sys.setPort(job, w.lastKey, w.port)
}

// dissociate ends the messages of a job that nobody follows any more. Where
// that is not possible they are ignored.
func (w *watcher) dissociate(job windows.Handle) { sys.setPort(job, 0, 0) }

// add follows b. What has happened before is found by a look at the job.
func (w *watcher) add(b *backend) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backends[b.key] = b
	if !w.running {
		w.running = true
		go w.run()
	}
	// A message of our own (0 is none of the system's) brings about the first look.
	windows.PostQueuedCompletionStatus(w.port, 0, b.key, nil)
}

func (w *watcher) run() {
	next := time.Now().Add(recheckEvery)
	for {
		m, err := receive(w.port, time.Until(next))
		if err == nil {
			w.step(m)
		} else if err != windows.WAIT_TIMEOUT {
			time.Sleep(time.Until(next)) // the port fails: looking has to do
		}
		if !time.Now().Before(next) {
			w.stepAll()
			next = time.Now().Add(recheckEvery)
		}
		if w.stopIfIdle() {
			return
		}
	}
}

// step handles one message. Those of backends that are not followed yet, or no
// more, are nobody's.
func (w *watcher) step(m message) {
	w.mu.Lock()
	b := w.backends[m.key]
	w.mu.Unlock()
	if b != nil && b.step(m.exit() && m.pid == uintptr(b.pid), false) {
		w.forget(b)
	}
}

func (w *watcher) stepAll() {
	for _, b := range w.all() {
		if b.step(false, true) {
			w.forget(b)
		}
	}
}

func (w *watcher) all() []*backend {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*backend, 0, len(w.backends))
	for _, b := range w.backends {
		all = append(all, b)
	}
	return all
}

func (w *watcher) forget(b *backend) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.backends, b.key)
}

func (w *watcher) stopIfIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = len(w.backends) > 0
	return !w.running
}
