// The one exception of this package, and how the native half's outcomes become it.
'use strict'

const native = require('./loader')

const statuses = new Map(native.codes().map(({ code, status }) => [code, status]))

class HypemanError extends Error {
  constructor(message, { code = 'internal', id, path, errno, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.status = statuses.get(code)
    if (id !== undefined) this.id = id
    if (path !== undefined) this.path = path
    if (errno !== undefined) this.errno = errno
  }
}
// On the prototype, as in Error, so that it is no key of the error.
Object.defineProperty(HypemanError.prototype, 'name', { value: 'HypemanError', configurable: true, writable: true })

const invalid = message => new HypemanError(message, { code: 'invalid_request' })

function unwrap(outcome) {
  if (outcome.code === undefined) return outcome.value
  const { message, ...facts } = outcome
  throw new HypemanError(message, facts)
}

module.exports = { HypemanError, invalid, unwrap }
