import type { CompressionConfig, HypervisorKind, OrNewer, SnapshotKind } from './requests'

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

/** The vendor's name for it. */
export type SnapshotListResponse = Array<Snapshot>

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
