// Package param has optional parameters, for which "not given" and "zero" are two things.
package param

// Opt is a value that may not be given. The zero Opt is not given.
type Opt[T any] struct {
	// Value counts where Valid.
	Value T
	given bool
}

// NewOpt gives a value.
func NewOpt[T any](value T) Opt[T] { return Opt[T]{Value: value, given: true} }

// Valid tells whether a value was given.
func (o Opt[T]) Valid() bool { return o.given }

// Or returns the value, or otherwise where none was given.
func (o Opt[T]) Or(otherwise T) T {
	if o.given {
		return o.Value
	}
	return otherwise
}
