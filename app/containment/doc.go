// Package containment keeps what a service starts from outliving the service.
//
//	c, err := containment.Install(ctx, containment.Config{}) // at least owner-killed=tree, or an error
//	b, err := c.Start(cmd)                                   // in place of cmd.Start
//	err = cmd.Wait()                                         // the leader's status, as ever
//	<-b.Done()                                               // nothing is left of the tree
//	report, err := b.Stop(ctx)                               // SIGTERM, grace, kill, wait
//	err = c.Close(ctx)                                       // the same for every backend
//
// # Mechanism
//
// [Install] asks the registry for the strongest strategy that works here; what
// that does is said by the strategy's own package and by contain describe. The
// strategies must be registered: import the strategies/all package, or the one
// that is wanted, or package app, which does so.
//
// # Guarantees
//
// With the zero [Config], that the whole tree of every backend ends when the
// owner is killed. Where no strategy promises that, Install fails and says why
// for each. [Config].Strategy, Require and BestEffort ask for something else;
// what is in force is in [Containment.Status] and in one line of the log.
//
// # Effects on this process
//
// Most strategies bind this process to its parent as well: on Linux it gets
// SIGTERM when its parent ends. [Config].OutliveParent turns that off. On
// Windows [Config].DieWithParent asks for as much. Such effects are shared by all
// that use this package in the process, and stay after Close.
//
// # Limits
//
// Those of the strategy in force, see [Status].Limits. Backends that are started
// while Close runs may be ended without a grace.
//
// The package does not depend on fx; package app connects the two.
package containment
