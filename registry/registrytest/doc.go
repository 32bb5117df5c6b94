// Package registrytest helps to test services that contain their backends, and
// strategies that contain them.
//
// A service's test swaps a [Fake] in and changes nothing in the service:
//
//	fake := new(registrytest.Fake)
//	fx.New(service.Module, fx.Replace(registrytest.Registry(fake)))
//
// or, without fx, sets containment.Config.Registry to [Registry](fake).
//
// A strategy's test calls [Run], which holds three things: that the metadata is
// stable, copied, complete and consistent ([Check]), that the strategy does what the
// interfaces say of every strategy ([Test]), and that it keeps, on real processes,
// what it promises (package drill).
package registrytest
