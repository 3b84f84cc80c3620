// The guest memory of a snapshot, open for reading at any offset.
'use strict'

const { constants } = require('node:buffer')
const { invalid, unwrap } = require('./errors')
const shapes = require('./shapes')

class MemoryImage {
  #native

  constructor(native) {
    this.#native = native
  }

  get snapshot_id() {
    return this.#native.snapshotId
  }

  get path() {
    return this.#native.path
  }

  get size_bytes() {
    return this.#native.sizeBytes
  }

  async read(offset, length) {
    const [from, asked] = [shapes.count('offset', offset), shapes.count('length', length)]
    const wanted = Math.min(asked, Math.max(this.size_bytes - from, 0))
    if (wanted > constants.MAX_LENGTH) {
      throw invalid(`no Uint8Array can hold ${wanted} bytes, only ${constants.MAX_LENGTH}; read them in pieces`)
    }
    return unwrap(await this.#native.read(from, wanted))
  }

  async extents() {
    return unwrap(await this.#native.extents())
  }

  async ranges() {
    return unwrap(await this.#native.ranges())
  }

  async close() {
    unwrap(await this.#native.close())
  }

  static {
    // Some runtimes do not have this symbol yet.
    if (Symbol.asyncDispose) {
      this.prototype[Symbol.asyncDispose] = function () {
        return this.close()
      }
    }
  }
}

module.exports = { MemoryImage }
