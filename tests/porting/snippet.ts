// Written for the vendor's client. The porting test runs it as it stands against a server, and once more with the two
// marked lines replaced: what it prints must be the same.
import Hypeman, { HypemanError, NotFoundError } from '@onkernel/hypeman' // the import
import type { Snapshot, SnapshotKind, SnapshotListParams } from '@onkernel/hypeman/resources/snapshots' // the types

const hm = new Hypeman({ apiKey: 'key', baseURL: process.env.WHERE!, maxRetries: 0 }) // the constructor

const kind: SnapshotKind = 'Standby'
const names = (found: Array<Snapshot>) => found.map(({ name }) => name).sort()

async function failure(call: () => PromiseLike<unknown>) {
  try {
    await call()
    return 'no failure'
  } catch (error) {
    if (!(error instanceof HypemanError) || !(error instanceof Hypeman.APIError)) throw error
    const classes = {
      BadRequestError: error instanceof Hypeman.BadRequestError,
      PermissionDeniedError: error instanceof Hypeman.PermissionDeniedError,
      NotFoundError: error instanceof Hypeman.NotFoundError && error instanceof NotFoundError,
      ConflictError: error instanceof Hypeman.ConflictError,
      InternalServerError: error instanceof Hypeman.InternalServerError
    }
    return { status: error.status, classes, isError: error instanceof Error, message: typeof error.message }
  }
}

async function main() {
  const tags: { [key: string]: string } = { team: 'backend', env: 'a/b=c' }
  const compression: Hypeman.SnapshotCompressionConfig = { enabled: true, algorithm: 'zstd', level: 3 }
  const full: Snapshot = await hm.instances.snapshots.create('web-1', { kind, name: 'baseline', tags, compression })
  const bare = await hm.instances.snapshots.create('web-1', { kind: 'Standby' })
  const tagged = await hm.instances.snapshots.create('web-1', { kind, name: 'other', tags: { team: 'backend' } })

  let done = full
  while (done.compression_state === 'compressing') done = await hm.snapshots.get(full.id)

  const filter: SnapshotListParams = { kind, name: 'baseline', source_instance_id: full.source_instance_id, tags }
  const lists: { [key: string]: Array<Snapshot> } = {
    all: await hm.snapshots.list(),
    none: await hm.snapshots.list(null),
    empty: await hm.snapshots.list({}),
    kind: await hm.snapshots.list({ kind }),
    otherKind: await hm.snapshots.list({ kind: 'Stopped' }),
    name: await hm.snapshots.list({ name: 'other' }),
    instance: await hm.snapshots.list({ source_instance_id: full.source_instance_id }),
    otherInstance: await hm.snapshots.list({ source_instance_id: 'nosuchinstance' }),
    tag: await hm.snapshots.list({ tags: { team: 'backend' } }),
    filter: await hm.snapshots.list(filter)
  }
  const got: Hypeman.Snapshot = await hm.snapshots.get(tagged.id)
  const parallel = await Promise.all([full.id, bare.id].map(id => hm.snapshots.get(id)))
  const chained = await hm.snapshots.list().then((found: Hypeman.SnapshotListResponse) => found.length)

  const standby = { target_state: 'Standby' } as const
  const restored = await hm.instances.snapshots.restore(bare.id, { id: 'web-1', ...standby })
  const forked: Hypeman.Instance = await hm.snapshots.fork(bare.id, { name: 'web-2', ...standby })

  const failures = {
    getUnknown: await failure(() => hm.snapshots.get('nosuchsnapshot')),
    getByName: await failure(() => hm.snapshots.get('baseline')),
    deleteUnknown: await failure(() => hm.snapshots.delete('nosuchsnapshot')),
    unknownInstance: await failure(() => hm.instances.snapshots.create('nobody', { kind })),
    sameName: await failure(() => hm.instances.snapshots.create('web-1', { kind, name: 'baseline' })),
    badName: await failure(() => hm.instances.snapshots.create('web-1', { kind, name: '-Bad-' })),
    restoreUnknown: await failure(() => hm.instances.snapshots.restore('nosuchsnapshot', { id: 'web-1', ...standby })),
    restoreNobody: await failure(() => hm.instances.snapshots.restore(bare.id, { id: 'nobody', ...standby })),
    forkUnknown: await failure(() => hm.snapshots.fork('nosuchsnapshot', { name: 'web-3', ...standby })),
    forkSameName: await failure(() => hm.snapshots.fork(bare.id, { name: 'web-2', ...standby }))
  }
  const deleted: unknown = await hm.snapshots.delete(tagged.id)

  console.log(
    JSON.stringify({
      baseline: {
        id: full.id.length,
        created_at: new Date(full.created_at).getTime() > Date.now() - 3_600_000,
        kind: full.kind,
        size_bytes: full.size_bytes > 0,
        source_hypervisor: full.source_hypervisor,
        source_instance_name: full.source_instance_name,
        compression: full.compression,
        name: full.name ?? null,
        tags: full.tags
      },
      bare: { name: bare.name ?? null, tags: bare.tags ?? null, compression: bare.compression ?? null },
      done: {
        state: done.compression_state,
        compressed: (done.compressed_size_bytes ?? 0) > 0,
        uncompressed: done.uncompressed_size_bytes,
        error: done.compression_error ?? null
      },
      lists: Object.fromEntries(Object.entries(lists).map(([key, found]) => [key, names(found)])),
      restored: [restored.id === full.source_instance_id, restored.name, restored.state, restored.hypervisor],
      forked: [forked.id === full.source_instance_id, forked.name, forked.state, forked.hypervisor],
      got: got.id === tagged.id && got.name,
      parallel: parallel.map(({ id }) => id === full.id || id === bare.id),
      chained,
      failures,
      deleted: deleted == null,
      gone: await failure(() => hm.snapshots.get(tagged.id)),
      left: names(await hm.snapshots.list())
    })
  )
}

main()
