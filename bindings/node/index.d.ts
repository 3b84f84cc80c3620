/// <reference lib="esnext.disposable" />

/** The version of the library. */
export const version: string

/**
 * An open data directory. Several processes may have it open at once.
 *
 * Calls run on threads of the library's own: neither the event loop nor libuv's thread pool waits for them. Every
 * promise that is rejected is rejected with a {@link HypemanError}, but for an aborted call, which is rejected with
 * its signal's reason.
 */
export class Hypeman {
  /**
   * Opens a data directory, creating it where it is missing, and finishes what a process that died left in it. That is
   * done when this returns: a VM that was left paused by a process that died may take it a few seconds.
   *
   * @throws {HypemanError} `invalid_request`, `permission`, `not_supported` (network file system), `not_found`
   * (missing, and `readOnly`), `no_space`, `io`
   */
  constructor(options?: OpenOptions)

  readonly instances: Instances
  readonly snapshots: Snapshots

  /** The data directory, as an absolute path. */
  readonly dataDir: string

  /**
   * Closes it: later calls answer `closed`. Compression jobs stop and are resumed by the next opener. Closing twice
   * is fine.
   */
  close(): Promise<void>

  /**
   * Waits until what this handle does in the background has ended: compression, checksums, and what it carries on for
   * handles that ended before. A program that is over soon calls it before {@link close}, else the next opener begins
   * that work anew. How each came out, its snapshot says.
   *
   * @throws {HypemanError} `timeout`, `cancelled`
   */
  finish(options?: CallOptions): Promise<void>

  [Symbol.dispose](): void
  [Symbol.asyncDispose](): Promise<void>

  static HypemanError: typeof HypemanError
  static APIError: typeof HypemanError
  static BadRequestError: typeof BadRequestError
  static PermissionDeniedError: typeof PermissionDeniedError
  static NotFoundError: typeof NotFoundError
  static ConflictError: typeof ConflictError
  static InternalServerError: typeof InternalServerError
}

/** The types, under the names that they have on the vendor's client. */
export namespace Hypeman {
  export {
    type Snapshot,
    type SnapshotKind,
    type SnapshotListParams,
    type SnapshotListResponse,
    type SnapshotForkParams,
    type SnapshotCompressionConfig,
    type Instance
  }
}

export interface OpenOptions {
  /** Default: `$HYPEMAN_DATA_DIR`, else `/var/lib/hypeman`. */
  dataDir?: string
  /** Nothing is created, recovered or resumed, and every write is refused. */
  readOnly?: boolean
  /** Compression of snapshots for which neither the request nor the instance says anything. Default: off. */
  compression?: CompressionConfig
  /**
   * `full` (default): what is acknowledged survives a power cut. `relaxed`: it survives the end of the process, but
   * not a power cut.
   */
  durability?: 'full' | 'relaxed'
  /** Most threads for one call or job, 1 to 256. Default: the number of CPUs that this process may use. */
  threads?: number
  /** Write to a data directory on a network file system, where locks cannot be trusted. Default: refuse. */
  allowNetworkFs?: boolean
  /**
   * No server of the vendor's runs on this data directory, so that running instances of its making may be paused
   * and captured. Default: they are refused.
   */
  ownsServerInstances?: boolean
  /**
   * Guest memory of cloud-hypervisor VMs with shared memory goes straight into and out of its compressed form where it
   * can, and is never written raw. A create then needs as much memory as the guest has. Default: through a file.
   */
  offloadMemory?: boolean
  /**
   * Hears of what happens in the background, and of what no call reports, soon after it happened. Default: no one. What
   * it throws is an uncaught exception.
   */
  log?: (event: LogEvent) => void
}

/** Something that happened. */
export interface LogEvent {
  /** `warning`: something went wrong that no call reports. Nothing is lost; the library tries again where it can. */
  level: 'info' | 'warning'
  /** One sentence in plain English, whose words may change. */
  message: string
  /** Of the snapshot or instance that it is about. */
  id: string
}

/** The virtual machines that the host, or the vendor's server, told us of. */
export interface Instances {
  readonly snapshots: InstanceSnapshots

  /**
   * Tells of a VM. Telling the same again is fine and gives the same instance.
   *
   * @throws {HypemanError} `invalid_request`, `conflict` when the name or id stands for something else
   */
  register(body: InstanceRegisterParams): Promise<Instance>

  /**
   * Finds an instance by exact id, then exact name, then unique id prefix.
   *
   * @throws {HypemanError} `not_found`, `conflict` when several ids begin so
   */
  get(id: string): Promise<Instance>

  /** Every instance, by name. */
  list(): ListPromise<Instance>

  /**
   * Forgets a registered instance. The VM, its files and its snapshots stay as they are.
   *
   * @throws {HypemanError} `not_found`, `conflict`, `invalid_state` for an instance of the vendor's server, `busy`
   * during a capture
   */
  unregister(id: string): Promise<void>
}

export interface InstanceSnapshots {
  /**
   * Captures a snapshot of an instance (exact id, exact name or unique id prefix).
   *
   * A running VM is paused and resumed, whatever happens. The snapshot is on the disk when the promise is fulfilled;
   * compression goes on in the background (see {@link Snapshots.wait}).
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `conflict` (name taken), `invalid_state`, `busy`,
   * `hypervisor`, `no_space`, `permission`, `timeout`, `io`. After each, nothing is left and the VM runs.
   */
  create(id: string, body: SnapshotCreateParams, options?: CallOptions): Promise<Snapshot>

  /**
   * Restores a snapshot onto the instance that it was taken of, and gives the instance as it is then.
   *
   * `Standby` and `Stopped` put the files into place, all of them or none; what no snapshot holds (`logs/`, sockets)
   * stays. `Running` loads the image into a VMM that the host has started and that waits for it, and the guest goes
   * on. QEMU opens its disks when it starts: restore to `Standby`, start it with `-incoming defer`, restore to
   * `Running`. cloud-hypervisor and firecracker take both in one call.
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `conflict`, `invalid_state` (a live guest, a VMM with a VM,
   * files not in place), `not_supported`, `incompatible`, `busy`, `corrupt`, `hypervisor`, `no_space`, `permission`,
   * `timeout`, `io`. After a failure to put files into place the instance is as it was.
   */
  restore(snapshotID: string, body: SnapshotRestoreParams, options?: CallOptions): Promise<Instance>
}

export interface Snapshots {
  /** Lists the snapshots that match all of `filter`, newest first, then by id. */
  list(filter?: SnapshotListParams | null): ListPromise<Snapshot>

  /**
   * Gets a snapshot, always fresh. Names and prefixes are not looked for.
   *
   * @throws {HypemanError} `not_found`, `corrupt`
   */
  get(id: string): Promise<Snapshot>

  /**
   * Deletes a snapshot, damaged ones too. Its compression job is stopped first.
   *
   * @throws {HypemanError} `not_found`, `busy` while someone reads it
   */
  delete(id: string): Promise<void>

  /**
   * Waits until compression has ended, well or not, in whichever process it runs, and gives the snapshot as it is then.
   *
   * @throws {HypemanError} `not_found`, `timeout`, `corrupt`
   */
  wait(id: string, options?: CallOptions): Promise<Snapshot>

  /**
   * Starts compressing raw memory in the background: again after an error or a cancel, or for the first time. Without
   * `compression`, with the settings of the record.
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `invalid_state` when it is compressed already or has no
   * memory, `busy` when it is being compressed
   */
  compress(id: string, body?: SnapshotCompressParams): Promise<Snapshot>

  /**
   * Stops compression, if it runs: its state is `none` then, its memory raw.
   *
   * @throws {HypemanError} `not_found`, `busy` when another process compresses it
   */
  cancelCompression(id: string): Promise<Snapshot>

  /**
   * Makes a new instance of a snapshot, with files of its own; where the file system reflinks, they share their blocks
   * with the snapshot. The source may be gone, and the snapshot stays as it is.
   *
   * To become `Running` in one call, a VMM must wait at `api_socket` (cloud-hypervisor, firecracker). QEMU opens its
   * disks when it starts: fork to `Standby`, start it with the disks of the new instance, then restore the snapshot
   * onto that. firecracker must find the fork's files where the source's were, by a mount namespace or a link.
   *
   * @throws {HypemanError} as a restore; `conflict` also when the name or a place is taken. After each there is no new
   * instance.
   */
  fork(id: string, body: SnapshotForkParams, options?: CallOptions): Promise<Instance>

  /**
   * Tells what the fields of a snapshot cannot say: files, sizes on disk, how it was captured.
   *
   * @throws {HypemanError} `not_found`, `corrupt`
   */
  inspect(id: string): Promise<Inspection>

  /**
   * Reads every byte of the payload and compares it with the checksums that were made in the background after the
   * capture. Damage is what the report is for, not a failure.
   *
   * @throws {HypemanError} `not_found`, `busy` while its files are being removed, `corrupt` when it has no payload at
   * all, `timeout`, `io`
   */
  verify(id: string, options?: CallOptions): Promise<VerifyReport>

  /**
   * Opens the guest memory for reading at any offset, compressed or not, while it is being compressed, too.
   *
   * @throws {HypemanError} `not_found`, `invalid_state` when it has no memory, `not_supported` for a compressed file
   * that can only be read from its start (the vendor's zstd), `busy` while its files are being removed, `corrupt`, `io`
   */
  memory(id: string): Promise<MemoryImage>

  /**
   * Serves the guest memory to VMs that run already, page by page as they touch it, straight from its file, compressed
   * or not: to any number of them.
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `invalid_state` when it has no memory, `conflict` when
   * something lies at `socket`, `not_supported` (memory of QEMU and vz, compressed files that can only be read from
   * their start, other systems than Linux), `busy`, `corrupt`, `io`
   */
  serveMemory(id: string, options?: SnapshotServeMemoryParams): Promise<Pager>
}

/**
 * Serves the memory of a snapshot. Give `socket` to `restore` as `uffd_socket`, or to firecracker as a `Uffd` memory
 * backend.
 *
 * It ends when it is stopped or its handle is closed. A VM that has not got all of its memory by then stands still at
 * the next page that it misses, for ever: end it before, or let it have all of it first (`fill`, and `wait`). A page
 * that is damaged is poisoned (Linux 6.6 and later), so that the VMM ends when its guest touches it. While it runs, the
 * snapshot cannot be deleted (`busy`).
 */
export interface Pager {
  readonly snapshot_id: string
  /** Where VMs connect. Only this user may, unless the host changes owner or mode of the file. */
  readonly socket: string

  /** What it has done so far; after its end, too. */
  metrics(): Promise<PagerMetrics>

  /**
   * Waits until at least one VM has connected, and each that did is gone or has all of its memory: without `fill`
   * none ever has that.
   *
   * @throws {HypemanError} `timeout`, `closed` once it was stopped
   */
  wait(options?: CallOptions): Promise<void>

  /** Stops serving. Stopping twice is fine. */
  stop(): Promise<void>

  [Symbol.asyncDispose](): Promise<void>
}

/**
 * The guest memory of a snapshot. Offsets are those of the raw memory file. Any number of reads may run at once.
 *
 * While it is open, the snapshot cannot be deleted (`busy`), unless the data directory was opened `readOnly`. It may
 * outlive its handle: the two are closed each on its own.
 */
export interface MemoryImage {
  readonly snapshot_id: string
  /** The file that is read, raw or compressed. */
  readonly path: string
  /** The length of the raw memory file. */
  readonly size_bytes: number

  /**
   * Reads `length` bytes from `offset` on: fewer where the image ends before, none at its end and behind it. All of
   * them are held in memory at once. Of a compressed file each frame is checked before its bytes are used.
   *
   * @throws {HypemanError} `invalid_request`, `corrupt` where a frame that is needed is damaged, `closed`, `io`
   */
  read(offset: number, length: number): Promise<Uint8Array>

  /**
   * What it consists of, from its start to its end without a gap.
   *
   * @throws {HypemanError} `corrupt`, `closed`, `io`
   */
  extents(): Promise<Array<MemoryExtent>>

  /**
   * Which guest-physical addresses lie where in it, by address.
   *
   * @throws {HypemanError} `not_supported` where the form of the file does not say it for certain (QEMU's stream,
   * and firecracker's from 3 GiB on), `corrupt`, `closed`, `io`
   */
  ranges(): Promise<Array<MemoryRange>>

  /**
   * Closes it, as soon as the reads that run have ended: later ones answer `closed`, and the snapshot may be deleted.
   * Closing twice is fine.
   */
  close(): Promise<void>

  [Symbol.asyncDispose](): Promise<void>
}

/** A list: `await` gives all of it, `for await` one after the other. */
export interface ListPromise<T> extends Promise<Array<T>>, AsyncIterable<T> {}

/** How a long call may be ended and watched. */
export interface CallOptions {
  /** Ends the call; its promise is rejected with the signal's reason. */
  signal?: AbortSignal
  /** Milliseconds after which the call ends with `timeout`. Default: no limit. */
  timeout?: number
  /** Hears how far the call has come, a few times a second at most. To throw in it rejects the call with what it threw, and ends it if it runs still. */
  onProgress?: (progress: Progress) => void
}

export interface Progress {
  /** Of a create, `saving_memory` and `copying_disks` are the ones in which the VM is paused. */
  phase: 'preparing' | 'saving_memory' | 'copying_disks' | 'syncing' | 'compressing' | 'verifying'
  /** Bytes of this phase that are done. */
  bytes_done: number
  /** Bytes of this phase in all; 0 while unknown. */
  bytes_total: number
}

export type SnapshotKind = 'Standby' | 'Stopped'

export type HypervisorKind = 'cloud-hypervisor' | 'firecracker' | 'qemu' | 'qemu-microvm' | 'vz'

/** A name of this version's, or one that a newer version wrote. */
export type OrNewer<T extends string> = T | (string & {})

/** A snapshot: the fields of the vendor's API. */
export interface Snapshot {
  /** Unique id: 24 characters. */
  id: string
  /** When the capture ended: RFC 3339, UTC. */
  created_at: string
  kind: OrNewer<SnapshotKind>
  /** Total payload size: the apparent sizes of its files. */
  size_bytes: number
  source_hypervisor: OrNewer<HypervisorKind>
  source_instance_id: string
  source_instance_name: string
  /** Size of the compressed memory; only in state `compressed`. */
  compressed_size_bytes?: number
  /** The settings that run or ran; absent when off. */
  compression?: CompressionConfig
  /** Why compression failed; only in state `error`. */
  compression_error?: string
  compression_state?: OrNewer<'none' | 'compressing' | 'compressed' | 'error'>
  /** Name, unique per source instance. */
  name?: string
  tags?: { [key: string]: string }
  /** Apparent size of the memory before compression; only in state `compressed`. */
  uncompressed_size_bytes?: number
}

/** Compression of guest memory. `algorithm` and `level` are ignored when `enabled` is false. */
export interface CompressionConfig {
  enabled: boolean
  /** `zstd` (default) or `lz4`. */
  algorithm?: OrNewer<'zstd' | 'lz4'>
  /** zstd: 1-19, default 1. lz4: 0-9, default 0. */
  level?: number
}

/** The vendor's name for it. */
export type SnapshotCompressionConfig = CompressionConfig

/** The vendor's name for it. */
export type SnapshotListResponse = Array<Snapshot>

export interface SnapshotCreateParams {
  /** `Standby`: memory, devices and disks of a VM that is Running, Paused or Standby. `Stopped`: disks of a stopped one. */
  kind: SnapshotKind
  /** 1-63 of `[a-z0-9-]`, no dash at either end, unique per source instance. */
  name?: string
  /** At most 50; keys of 1-128, values of 0-256 characters, of `[A-Za-z0-9 _.:/=+@-]`. */
  tags?: { [key: string]: string }
  /** Overrides the defaults of instance and library. Refused with `Stopped`. */
  compression?: CompressionConfig
}

export interface SnapshotRestoreParams {
  /** The instance that it was taken of: exact id, exact name or unique id prefix. */
  id: string
  /**
   * What the instance is to be then. A `Standby` snapshot: `Running` (default where `api_socket` is given), `Standby`
   * (default else) or `Stopped`. A `Stopped` snapshot: `Stopped`.
   */
  target_state?: 'Running' | 'Standby' | 'Stopped'
  /** The API socket of a VMM that the host started for this and that has no VM yet. Default: the instance's own. */
  api_socket?: string
  /**
   * Other devices of the host for network interfaces, by their id in the guest's configuration (cloud-hypervisor,
   * firecracker).
   */
  network_overrides?: { [key: string]: string }
  /** Let the VMM read memory page by page while the guest runs already (cloud-hypervisor 52 and later). */
  on_demand?: boolean
  /** Let the VMM get memory from the userfaultfd server that listens at this socket (firecracker). */
  uffd_socket?: string
  /** Restore although the VMM or the host differs from what was recorded. */
  allow_incompatible?: boolean
  /** `deny`: memory that was handed out before is refused (`conflict`). Default: `allow`. */
  duplicates?: 'allow' | 'deny'
}

/** Where a fork goes; how it is restored is said as in a restore. */
export interface SnapshotForkParams {
  /** 1-63 of `[a-z0-9-]`, no dash at either end, unique among instances. */
  name: string
  /** The new directory, which is made; the one around it must be there. Default: `guests/{id}` in the data directory. */
  directory?: string
  /**
   * Where disks from outside the source's directory go, by their paths at capture; the others go into `disks/` of the
   * new directory. A read-only one may be given a file that is there: it is used as it is.
   */
  disks?: { [key: string]: string }
  target_state?: 'Running' | 'Standby' | 'Stopped'
  /** The API socket of a VMM that waits for it, or that will be its own. */
  api_socket?: string
  network_overrides?: { [key: string]: string }
  on_demand?: boolean
  uffd_socket?: string
  allow_incompatible?: boolean
  duplicates?: 'allow' | 'deny'
}

export interface SnapshotServeMemoryParams {
  /** Where to listen: an absolute path of at most 107 bytes at which nothing lies yet. Default: one for temporary files. */
  socket?: string
  /** The most decoded memory that is kept for the next VM that wants it. Default: 64 MiB. */
  cache_bytes?: number
  /** Install what the first VM wanted first before the next one asks; find that out where it is not known. Default: yes. */
  prefetch?: boolean
  /** Install all the rest, too, in the background. A VM with all of its memory needs no pager any more. Default: no. */
  fill?: boolean
  /** For how long after a fault a CPU is kept busy waiting for the next, at most, up to 1000. Default: 30. */
  spin_us?: number
  /** The CPUs that the threads of the pager may run on. Default: all. */
  cpus?: Array<number>
}

/** What is given must match, exactly; of tags, each one given. */
export interface SnapshotListParams {
  kind?: SnapshotKind
  /** An empty one stands for unnamed snapshots. */
  name?: string
  /** Not resolved; may name an instance that is gone. */
  source_instance_id?: string
  tags?: { [key: string]: string }
}

export interface SnapshotCompressParams {
  compression?: CompressionConfig
}

export interface InstanceRegisterParams {
  /** 1-63 of `[a-z0-9-]`, no dash at either end, unique among instances. */
  name: string
  hypervisor: HypervisorKind
  /** An id to keep; else one is made. */
  id?: string
  /** The VMM's API socket (QEMU: a `-qmp` socket that no one else uses). Absolute. */
  api_socket?: string
  /** The instance directory: all of it is captured, but for sockets and `logs/`. Absolute; it must exist. */
  directory?: string
  /** Disks, inside the directory or not. Where none is named, every file of the directory is taken for one. */
  disks?: Array<{ path: string; readonly?: boolean }>
  /** Default compression of its snapshots. */
  compression?: CompressionConfig
  /**
   * For a VMM that runs as another user or in a jail: a directory that it can reach, too. What it writes is moved from
   * there into the snapshot, and what it loads is put there. Absolute; it must exist.
   */
  staging_directory?: string
  /** The path of that directory as the VMM sees it. Default: the same. */
  staging_directory_in_vmm?: string
  /**
   * Your promise that no other program, and no other data directory, takes snapshots of this VM as long as its VMM lives.
   * Then firecracker, where it tracks dirty pages, writes only what changed since its last snapshot, over a copy of that
   * one. Were it broken, such a snapshot would lack changes, and nothing could show it.
   */
  exclusive_snapshots?: boolean
}

/** A VM, where it is and what it does. */
export interface Instance {
  id: string
  name: string
  hypervisor: OrNewer<HypervisorKind>
  /** What it does now; asked of its VMM, never stored. */
  state: 'Created' | 'Initializing' | 'Running' | 'Paused' | 'Shutdown' | 'Standby' | 'Stopped' | 'Unknown'
  /** Who told us of it: the host, by `register`, or the vendor's server. */
  origin: 'registered' | 'server'
  created_at: string
  api_socket?: string
  directory?: string
  disks: Array<Disk>
  compression?: CompressionConfig
  /** Which copy of its snapshot's memory it has, from 1: told by the restore or fork that gave it that. */
  generation?: number
  /** Through which files pass between us and the VMM. */
  staging_directory?: string
  staging_directory_in_vmm?: string
}

export interface Disk {
  path: string
  /** Whether the guest can only read it; then it is copied before the pause. */
  readonly: boolean
}

/** A snapshot from inside: its files, and how it was captured. */
export interface Inspection {
  snapshot: Snapshot
  /** Every regular file of the payload, by path. */
  files: Array<PayloadFile>
  /** Bytes that the payload occupies on the disk; less than `size_bytes` where files are sparse. */
  allocated_bytes: number
  /** How often its memory was handed out, by restores and forks, each of which has a number of its own. */
  generation: number
  /** Absent for snapshots that libhypeman did not make. */
  capture?: Capture
}

export interface PayloadFile {
  /** Path beneath `guest/`. */
  path: string
  size_bytes: number
  allocated_bytes: number
}

export interface Capture {
  /** What the source did when the capture began. */
  source_state: string
  /** How long the guest did not run, in milliseconds; absent where the VM was not paused by us. */
  paused_ms?: number
  /** The part of the pause in which the VMM wrote its state and memory. */
  saving_memory_ms?: number
  /** The part of the pause in which disks were cloned or copied. */
  copying_disks_ms?: number
  hypervisor_version?: string
  /** What the memory file is: `qemu-stream`, `qemu-mapped-ram`, `cloud-hypervisor-ranges`, `raw`. */
  memory_format?: string
  /** The memory file beneath `guest/`, without the suffix of a compressed one. */
  memory_file?: string
  /** The version of the form of the VMM's own state, where that tells it (firecracker). */
  state_format?: string
  host: Host
  libhypeman_version: string
}

/** The machine on which a snapshot was captured. */
export interface Host {
  kernel: string
  architecture: string
  cpu_model: string
  cpu_vendor: string
  /** What the CPU can do, in the kernel's words, with a space between any two. */
  cpu_flags: string
}

/**
 * What verifying a snapshot finds. It is whole and well where there is no defect and every file is `good`.
 *
 * Paths are relative to the snapshot's directory: `guest/...` for the payload, `snapshot.json`, `libhypeman.json`.
 */
export interface VerifyReport {
  snapshot_id: string
  /** Every file of the payload that is there, by path. */
  files: Array<VerifiedFile>
  /** Everything that is wrong, by path and offset. */
  defects: Array<Defect>
}

export interface VerifiedFile {
  path: string
  size_bytes: number
  /** `unchecked`: nothing is known to compare it with; libhypeman did not make it, or has not read it yet. */
  status: 'good' | 'damaged' | 'unchecked'
}

export interface Defect {
  path: string
  kind: 'missing' | 'extra' | 'size' | 'content' | 'frame' | 'metadata'
  /** What is wrong, for people. */
  message: string
  /** Where the damaged part begins; absent where the whole file is concerned, or where `message` names the place. */
  offset?: number
  /** The length of the part in which the damage lies; present with `offset`. */
  size_bytes?: number
}

export interface MemoryExtent {
  offset: number
  size_bytes: number
  /** `zero` is a run of zeros in a compressed file, `hole` one in a raw file: it occupies no space. */
  kind: 'data' | 'zero' | 'hole'
}

/** A range of guest-physical memory that lies in one piece. */
export interface MemoryRange {
  guest_address: number
  offset: number
  size_bytes: number
}

/** What a pager has done so far. */
export interface PagerMetrics {
  /** VMs that are connected now. */
  vms: number
  /** VMs that ever were. */
  vms_seen: number
  /** VMs that were given all of their memory, and need the pager no more. */
  vms_whole: number
  /** Page faults that were answered. */
  faults: number
  /** Bytes that were copied into VMs. */
  copied_bytes: number
  /** Bytes of zeros that VMs were given, which take no memory. */
  zero_bytes: number
  /** Of both, what was installed because a VM before wanted it first. */
  prefetched_bytes: number
  /** Of both, what was installed in the background. */
  filled_bytes: number
  /** How long faults took: entry `i` counts those of less than 2^i microseconds, the last one all longer ones. */
  fault_us: Array<number>
  /** Damaged frames, VMs that were refused. */
  errors: number
  last_error?: string
}

export type ErrorCode =
  | 'invalid_request'
  | 'not_found'
  | 'conflict'
  | 'invalid_state'
  | 'not_supported'
  | 'corrupt'
  | 'incompatible'
  | 'no_space'
  | 'permission'
  | 'busy'
  | 'hypervisor'
  | 'timeout'
  | 'cancelled'
  | 'io'
  | 'closed'
  | 'internal'

/** What went wrong. Codes are stable, messages are not: they say what happened and what to do. */
export class HypemanError extends Error {
  constructor(message: string, facts?: ErrorFacts)
  readonly code: ErrorCode
  /** The HTTP status that the vendor's client would see for it. */
  readonly status: number
  /** The instance or snapshot concerned. */
  readonly id?: string
  /** The path concerned. */
  readonly path?: string
  /** The operating system's error number, positive as in C. `cause` is then an error as Node's own calls throw it. */
  readonly errno?: number
  /** The snapshot that the failed call named. */
  readonly snapshotId?: string
}

export interface ErrorFacts {
  /** Default: `internal`. */
  code?: ErrorCode
  id?: string
  path?: string
  errno?: number
  snapshotId?: string
  cause?: unknown
}

/** The vendor's name for it. */
export const APIError: typeof HypemanError
export type APIError = HypemanError

/** Status 400: `invalid_request`. */
export class BadRequestError extends HypemanError {}
/** Status 403: `permission`. */
export class PermissionDeniedError extends HypemanError {}
/** Status 404: `not_found`. */
export class NotFoundError extends HypemanError {}
/** Status 409: `conflict`, `invalid_state`, `incompatible`, `busy`. */
export class ConflictError extends HypemanError {}
/** Status 500 and above: all others, but for `cancelled`. */
export class InternalServerError extends HypemanError {}
