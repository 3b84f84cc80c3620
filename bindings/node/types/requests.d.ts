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

export type SnapshotKind = 'Standby' | 'Stopped'

export type HypervisorKind = 'cloud-hypervisor' | 'firecracker' | 'qemu' | 'qemu-microvm' | 'vz'

/** A name of this version's, or one that a newer version wrote. */
export type OrNewer<T extends string> = T | (string & {})

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
