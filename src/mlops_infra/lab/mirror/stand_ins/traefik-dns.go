// Package dns is a stand-in for lego's table of DNS providers, whose SDKs are not all to be had: it knows none. Traefik
// asks it for ACME's DNS challenge alone.
package dns

import (
	"errors"

	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName refuses every name.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, errors.New("stand-in: no DNS provider is built in, so no " + name)
}
