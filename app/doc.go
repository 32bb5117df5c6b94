// Package app connects containment with fx and brings every strategy of this
// module along.
//
// Add [Module] to a service's fx graph, take the *[Containment] where backends are
// started, and start them through it:
//
//	fx.New(app.Module, fx.Provide(NewBroker))
//
//	func NewBroker(lc fx.Lifecycle, c *app.Containment) *Broker {
//		lc.Append(fx.StartHook(func() error {
//			b, err := c.Start(exec.Command("backend"))
//			...
//		}))
//	}
//
// Without fx, [Install] is all that is needed. Both take the same [Config]; its
// zero value demands that the whole tree of every backend ends when the service
// is killed. Types and functions here are those of package containment, which
// has no dependency on fx.
//
// # Effects on this process
//
// The service gets SIGTERM when its own parent ends, on Linux. Config.OutliveParent
// turns that off.
//
// # Limits
//
// fx runs no OnStop hook once its start or stop timeout is over, nor when the
// process is killed. What is in force stays so then, and ends the backends when
// the process ends. The stop timeout must exceed the grace by the time that killing
// takes, or the grace is shortened: fx's default of 15 s leaves enough for the
// default grace of 5 s.
package app
