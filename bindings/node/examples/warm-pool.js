// A browser farm's warm pool: a browser is started once, captured while it idles, and from then on every job gets a
// fork of that snapshot, which is ready in the time that a reflink takes. The pool keeps some forks ready and makes new
// ones in the background as jobs take them.
//
//     node warm-pool.js DATA_DIR TEMPLATE [JOBS [READY]]
//
// TEMPLATE is a registered instance. `start` and `stop` are the farm's own: they run a VMM on a fork's directory and
// end it. Here they only show where that goes.
'use strict'

const { rm } = require('node:fs/promises')
const { parseArgs } = require('node:util')
const { Hypeman, HypemanError } = require('libhypeman')

class WarmPool {
  #hm
  #snapshot
  #ready
  #start
  #stop
  #waiting = []
  #serial = 0
  #isClosed = false

  constructor(hm, snapshot, { ready = 2, start = async () => {}, stop = async () => {} } = {}) {
    this.#hm = hm
    this.#snapshot = snapshot
    this.#ready = ready
    this.#start = start
    this.#stop = stop
  }

  // Captures the template, once: a second farm on the same data directory finds the snapshot by its name.
  static async open(hm, template, { name = 'warm', signal, ...options } = {}) {
    const { id } = await hm.instances.get(template)
    const pool = new WarmPool(hm, await WarmPool.#baseline(hm, id, name, signal), options)
    pool.#fill()
    return pool
  }

  static async #baseline(hm, instance, name, signal) {
    try {
      const compression = { enabled: true, algorithm: 'lz4' }
      return await hm.instances.snapshots.create(instance, { kind: 'Standby', name, compression }, { signal })
    } catch (error) {
      if (!(error instanceof HypemanError) || error.code !== 'conflict') throw error
      const [taken] = await hm.snapshots.list({ name, source_instance_id: instance })
      if (!taken) throw error
      return taken
    }
  }

  get size() {
    return this.#waiting.length
  }

  #fill() {
    while (!this.#isClosed && this.#waiting.length < this.#ready) {
      const made = this.#make()
      // Whoever takes it hears of the failure; until then it is no unhandled rejection.
      made.catch(() => {})
      this.#waiting.push(made)
    }
  }

  async #make() {
    const name = `${this.#snapshot.name}-${process.pid}-${this.#serial++}`
    const vm = await this.#hm.snapshots.fork(this.#snapshot.id, { name })
    try {
      await this.#start(vm)
      return vm
    } catch (error) {
      await this.#discard(vm)
      throw error
    }
  }

  async #discard(vm) {
    await this.#hm.instances.unregister(vm.id)
    await rm(vm.directory, { recursive: true, force: true })
  }

  // Runs a job on a VM of its own, which is gone afterwards.
  async run(job) {
    if (this.#isClosed) throw new Error('the pool is closed')
    const taken = this.#waiting.shift() ?? this.#make()
    this.#fill()
    const vm = await taken
    try {
      return await job(vm)
    } finally {
      await this.#stop(vm)
      await this.#discard(vm)
    }
  }

  async close() {
    this.#isClosed = true
    for (const { status, value: vm } of await Promise.allSettled(this.#waiting.splice(0))) {
      if (status !== 'fulfilled') continue
      await this.#stop(vm)
      await this.#discard(vm)
    }
  }
}

async function main() {
  const [dataDir, template, jobs = '8', ready = '2'] = parseArgs({ allowPositionals: true }).positionals
  if (!template) throw new Error('usage: node warm-pool.js DATA_DIR TEMPLATE [JOBS [READY]]')
  const hm = new Hypeman({ dataDir })
  try {
    const pool = await WarmPool.open(hm, template, { ready: Number(ready) })
    const visit = page => pool.run(async vm => console.log(`page ${page} in ${vm.name}, copy ${vm.generation}`))
    await Promise.all(Array.from({ length: Number(jobs) }, (_, page) => visit(page)))
    await pool.close()
    for await (const { id, name, compression_state } of hm.snapshots.list()) console.log(id, name, compression_state)
    await hm.finish()
  } finally {
    await hm.close()
  }
}

if (require.main === module) {
  main().catch(error => {
    console.error(`warm-pool: ${error.message}`)
    process.exit(1)
  })
}

module.exports = { WarmPool }
