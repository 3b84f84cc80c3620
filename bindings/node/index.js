// libhypeman for Node: the vendor's resource tree over the native calls. index.d.ts is its manual.
'use strict'

const native = require('./loader')
const errors = require('./errors')
const { iterable } = require('./list')
const { long } = require('./long')
const { MemoryImage } = require('./memory')
const { Pager } = require('./pager')
const shapes = require('./shapes')

const { unwrap } = errors
const { HypemanError, BadRequestError, PermissionDeniedError, NotFoundError, ConflictError, InternalServerError } = errors

class Hypeman {
  #handle

  constructor(options) {
    const { log, ...open } = shapes.open('options', options ?? {})
    this.#handle = unwrap(native.open(open, log))
    this.instances = new Instances(this.#handle)
    this.snapshots = new Snapshots(this.#handle)
  }

  get dataDir() {
    return this.#handle.dataDir
  }

  async finish(options) {
    await long(shapes.limits('options', options ?? {}), (...limits) => this.#handle.finish(...limits))
  }

  async close() {
    unwrap(await this.#handle.close())
  }

  // As on the vendor's client.
  static HypemanError = HypemanError
  static APIError = HypemanError
  static BadRequestError = BadRequestError
  static PermissionDeniedError = PermissionDeniedError
  static NotFoundError = NotFoundError
  static ConflictError = ConflictError
  static InternalServerError = InternalServerError

  static {
    // Some runtimes do not have these symbols yet.
    if (Symbol.dispose) {
      this.prototype[Symbol.dispose] = function () {
        unwrap(this.#handle.closeNow())
      }
    }
    if (Symbol.asyncDispose) {
      this.prototype[Symbol.asyncDispose] = function () {
        return this.close()
      }
    }
  }
}

class Instances {
  #handle

  constructor(handle) {
    this.#handle = handle
    this.snapshots = new InstanceSnapshots(handle)
  }

  async register(body) {
    return unwrap(await this.#handle.register(shapes.register('instance', body)))
  }

  async get(id) {
    return unwrap(await this.#handle.getInstance(shapes.id('id', id)))
  }

  list() {
    return iterable(this.#list())
  }

  async #list() {
    return unwrap(await this.#handle.listInstances())
  }

  async unregister(id) {
    unwrap(await this.#handle.unregister(shapes.id('id', id)))
  }
}

class InstanceSnapshots {
  #handle

  constructor(handle) {
    this.#handle = handle
  }

  async create(id, body, options) {
    const [instance, request] = [shapes.id('id', id), shapes.create('snapshot', body)]
    return long(shapes.limits('options', options ?? {}), (...limits) =>
      this.#handle.create(instance, request, ...limits)
    )
  }

  async restore(snapshotID, body, options) {
    const snapshot = shapes.id('snapshotID', snapshotID)
    const { id, ...request } = shapes.restore('restore', body)
    const start = (...limits) => this.#handle.restore(snapshot, id, request, ...limits)
    return long(shapes.limits('options', options ?? {}), start, snapshot)
  }
}

class Snapshots {
  #handle

  constructor(handle) {
    this.#handle = handle
  }

  list(filter) {
    return iterable(this.#list(filter))
  }

  async #list(filter) {
    return unwrap(await this.#handle.list(shapes.filter('filter', filter ?? {})))
  }

  async get(id) {
    const snapshot = shapes.id('id', id)
    return unwrap(this.#handle.getInMemory(snapshot) ?? (await this.#handle.get(snapshot)), snapshot)
  }

  async delete(id) {
    const snapshot = shapes.id('id', id)
    unwrap(await this.#handle.delete(snapshot), snapshot)
  }

  async wait(id, options) {
    const snapshot = shapes.id('id', id)
    return long(shapes.limits('options', options ?? {}), (...limits) => this.#handle.wait(snapshot, ...limits), snapshot)
  }

  async compress(id, body) {
    const { compression } = shapes.compress('body', body ?? {})
    const snapshot = shapes.id('id', id)
    return unwrap(await this.#handle.compress(snapshot, compression), snapshot)
  }

  async cancelCompression(id) {
    const snapshot = shapes.id('id', id)
    return unwrap(await this.#handle.cancelCompression(snapshot), snapshot)
  }

  async fork(id, body, options) {
    const snapshot = shapes.id('id', id)
    const { name, directory, disks, ...restore } = shapes.fork('fork', body)
    const start = (...limits) => this.#handle.fork(snapshot, { name, directory, disks }, restore, ...limits)
    return long(shapes.limits('options', options ?? {}), start, snapshot)
  }

  async inspect(id) {
    const snapshot = shapes.id('id', id)
    return unwrap(await this.#handle.inspect(snapshot), snapshot)
  }

  async verify(id, options) {
    const snapshot = shapes.id('id', id)
    return long(shapes.limits('options', options ?? {}), (...limits) => this.#handle.verify(snapshot, ...limits), snapshot)
  }

  async memory(id) {
    const snapshot = shapes.id('id', id)
    return new MemoryImage(unwrap(await this.#handle.memory(snapshot), snapshot))
  }

  async serveMemory(id, options) {
    const request = shapes.serve('options', options ?? {})
    const snapshot = shapes.id('id', id)
    return new Pager(unwrap(await this.#handle.serveMemory(snapshot, request), snapshot))
  }
}

const version = native.version()

module.exports = {
  Hypeman,
  HypemanError,
  APIError: HypemanError,
  BadRequestError,
  PermissionDeniedError,
  NotFoundError,
  ConflictError,
  InternalServerError,
  version
}
