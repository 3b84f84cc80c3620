// The exceptions of this package, and how the native half's outcomes become them.
'use strict'

const { getSystemErrorName } = require('node:util')
const native = require('./loader')

const statuses = new Map(native.codes().map(({ code, status }) => [code, status]))

class HypemanError extends Error {
  constructor(message, { code = 'internal', id, path, errno, snapshotId, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.status = statuses.get(code)
    if (id !== undefined) this.id = id
    if (path !== undefined) this.path = path
    if (errno !== undefined) this.errno = errno
    if (snapshotId !== undefined) this.snapshotId = snapshotId
  }
}
// On the prototype, as in Error, so that it is no key of the error.
Object.defineProperty(HypemanError.prototype, 'name', { value: 'HypemanError', configurable: true, writable: true })

// The vendor's classes, which go by the status. Code that was written for its client catches these.
class BadRequestError extends HypemanError {}
class PermissionDeniedError extends HypemanError {}
class NotFoundError extends HypemanError {}
class ConflictError extends HypemanError {}
class InternalServerError extends HypemanError {}

const classes = new Map([
  [400, BadRequestError],
  [403, PermissionDeniedError],
  [404, NotFoundError],
  [409, ConflictError]
])

function failure(message, facts) {
  const status = statuses.get(facts.code)
  const Class = status >= 500 ? InternalServerError : (classes.get(status) ?? HypemanError)
  return new Class(message, facts)
}

const invalid = message => failure(message, { code: 'invalid_request' })

// The operating system's error, as Node's own calls throw it.
function systemError({ errno, path }) {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(path === undefined ? code : `${code}, '${path}'`), { code, errno: -errno, path })
}

// `snapshotId` is the snapshot that the caller named.
function unwrap(outcome, snapshotId) {
  if (outcome.code === undefined) return outcome.value
  const { message, ...facts } = outcome
  const cause = facts.errno === undefined ? undefined : systemError(facts)
  throw failure(message, { ...facts, snapshotId, cause })
}

module.exports = {
  HypemanError,
  BadRequestError,
  PermissionDeniedError,
  NotFoundError,
  ConflictError,
  InternalServerError,
  invalid,
  unwrap
}
