// What a TypeScript host may write, and what it may not: `tsc` checks both. Never run.
import { Hypeman, HypemanError, NotFoundError, type Snapshot, type ErrorCode } from 'libhypeman'

async function host(): Promise<void> {
  await using hm = new Hypeman({ dataDir: '/var/lib/hypeman', compression: { enabled: true, algorithm: 'lz4' } })
  const vm = await hm.instances.register({
    name: 'nginx1',
    hypervisor: 'qemu',
    api_socket: '/run/nginx1.qmp',
    directory: '/vms/nginx1',
    disks: [{ path: '/vms/nginx1/overlay.raw' }]
  })
  const s: Snapshot = await hm.instances.snapshots.create(
    vm.id,
    { kind: 'Standby', tags: { team: 'backend' } },
    { signal: AbortSignal.timeout(60_000), onProgress: ({ phase, bytes_done }) => void [phase, bytes_done] }
  )
  const size: number = s.size_bytes
  const when: string = s.created_at
  const tag: string | undefined = s.tags?.team
  await hm.snapshots.list(null)
  for await (const { id, name } of hm.snapshots.list({ kind: 'Standby' })) void [id.length, name?.length]
  for await (const { state } of hm.instances.list()) void state
  const chained: number = await hm.snapshots.list().then(all => all.length)
  const restored: string = (
    await hm.instances.snapshots.restore(s.id, { id: vm.id, target_state: 'Standby' }, { timeout: 60_000 })
  ).state
  await using memory = await hm.snapshots.memory(s.id)
  const page: Uint8Array = await memory.read(memory.size_bytes - 4096, 4096)
  const broken: Array<string> = (await hm.snapshots.verify(s.id)).defects.map(({ path }) => path)
  const paused: number | undefined = (await hm.snapshots.inspect(s.id)).capture?.paused_ms
  try {
    await hm.snapshots.delete(s.id)
  } catch (error) {
    if (error instanceof HypemanError) {
      const code: ErrorCode = error.code
      void [code, error.path, error.errno, error.cause, error.snapshotId]
    }
  }
  void [chained, NotFoundError, size, when, tag, paused, restored, page, broken]

  // @ts-expect-error: kind is required
  await hm.instances.snapshots.create(vm.id, { name: 'baseline' })
  // @ts-expect-error: there are two kinds
  await hm.instances.snapshots.create(vm.id, { kind: 'standby' })
  // @ts-expect-error: the instance is named
  await hm.instances.snapshots.restore(s.id, { target_state: 'Standby' })
  // @ts-expect-error: a misspelt key
  await hm.snapshots.list({ source_instance: vm.id })
  // @ts-expect-error: the tree belongs to the handle
  hm.snapshots = hm.snapshots
}
void host
