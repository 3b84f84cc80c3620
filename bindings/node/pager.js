// Guest memory that is served page by page to VMs that run already.
'use strict'

const { unwrap } = require('./errors')
const { long } = require('./long')
const shapes = require('./shapes')

class Pager {
  #native

  constructor(native) {
    this.#native = native
  }

  get snapshot_id() {
    return this.#native.snapshotId
  }

  get socket() {
    return this.#native.socket
  }

  async metrics() {
    return unwrap(await this.#native.metrics())
  }

  async wait(options) {
    await long(shapes.limits('options', options ?? {}), (...limits) => this.#native.wait(...limits))
  }

  async stop() {
    unwrap(await this.#native.stop())
  }

  static {
    // Some runtimes do not have this symbol yet.
    if (Symbol.asyncDispose) {
      this.prototype[Symbol.asyncDispose] = function () {
        return this.stop()
      }
    }
  }
}

module.exports = { Pager }
