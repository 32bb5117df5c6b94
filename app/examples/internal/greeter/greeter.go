// Package greeter is a plugin for hashicorp/go-plugin: what host and plugin share.
package greeter

import (
	"net/rpc"

	"github.com/hashicorp/go-plugin"
)

// Handshake is what host and plugin must agree on.
var Handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "CONTAIN_EXAMPLE", MagicCookieValue: "greeter"}

// Plugins has the one kind of plugin there is.
var Plugins = plugin.PluginSet{"greeter": Plugin{}}

// Plugin is the greeter, on both sides.
type Plugin struct{}

// Greet greets.
func (Plugin) Greet(name string, out *string) error {
	*out = "hello " + name
	return nil
}

// Server implements [plugin.Plugin].
func (p Plugin) Server(*plugin.MuxBroker) (any, error) { return p, nil }

// Client implements [plugin.Plugin]: the host calls Plugin.Greet by net/rpc.
func (Plugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }
