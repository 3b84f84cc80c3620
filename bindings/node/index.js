// libhypeman for Node: the vendor's resource tree over the native calls. index.d.ts is its manual.
'use strict'

const native = require('./loader')
const { HypemanError, unwrap } = require('./errors')
const { long } = require('./long')
const { MemoryImage } = require('./memory')
const { Pager } = require('./pager')
const shapes = require('./shapes')

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

  async list() {
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
    return long(shapes.limits('options', options ?? {}), (...limits) =>
      this.#handle.restore(snapshot, id, request, ...limits)
    )
  }
}

class Snapshots {
  #handle

  constructor(handle) {
    this.#handle = handle
  }

  async list(filter) {
    return unwrap(await this.#handle.list(shapes.filter('filter', filter ?? {})))
  }

  async get(id) {
    const snapshot = shapes.id('id', id)
    return unwrap(this.#handle.getInMemory(snapshot) ?? (await this.#handle.get(snapshot)))
  }

  async delete(id) {
    unwrap(await this.#handle.delete(shapes.id('id', id)))
  }

  async wait(id, options) {
    const snapshot = shapes.id('id', id)
    return long(shapes.limits('options', options ?? {}), (...limits) => this.#handle.wait(snapshot, ...limits))
  }

  async compress(id, body) {
    const { compression } = shapes.compress('body', body ?? {})
    return unwrap(await this.#handle.compress(shapes.id('id', id), compression))
  }

  async cancelCompression(id) {
    return unwrap(await this.#handle.cancelCompression(shapes.id('id', id)))
  }

  async fork(id, body, options) {
    const snapshot = shapes.id('id', id)
    const { name, directory, disks, ...restore } = shapes.fork('fork', body)
    return long(shapes.limits('options', options ?? {}), (...limits) =>
      this.#handle.fork(snapshot, { name, directory, disks }, restore, ...limits)
    )
  }

  async inspect(id) {
    return unwrap(await this.#handle.inspect(shapes.id('id', id)))
  }

  async verify(id, options) {
    const snapshot = shapes.id('id', id)
    return long(shapes.limits('options', options ?? {}), (...limits) => this.#handle.verify(snapshot, ...limits))
  }

  async memory(id) {
    return new MemoryImage(unwrap(await this.#handle.memory(shapes.id('id', id))))
  }

  async serveMemory(id, options) {
    const request = shapes.serve('options', options ?? {})
    return new Pager(unwrap(await this.#handle.serveMemory(shapes.id('id', id), request)))
  }
}

const version = native.version()

module.exports = { Hypeman, HypemanError, version }
