// Package examples has programs that start others by way of well-known libraries
// and keep them contained. It is a module of its own, so that contain does not
// depend on what the examples import.
//
// Its tests run each program, end it in every way in which a service ends, and
// count what is left of the processes that it had started.
package examples
