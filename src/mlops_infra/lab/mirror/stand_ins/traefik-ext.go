// Package ext is a stand-in for a module of Traefik's repository that is not served: places where other products add
// fields. Traefik itself adds none.
package ext

// HTTP adds nothing.
type HTTP struct{}

// Router adds nothing.
type Router struct{}

// RouterIng adds nothing.
type RouterIng struct{}

// ToRouter is what becomes of it.
func (RouterIng) ToRouter() Router { return Router{} }
