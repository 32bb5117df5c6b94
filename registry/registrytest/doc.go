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
// A strategy's test calls [Check] on it, which says whether the metadata is
// stable, copied, complete and consistent.
package registrytest
