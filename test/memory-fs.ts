/**
 * The store's file system on a `MemoryDisk`. Records every change, and fails or stops at the operation a test
 * names.
 */
import type { Entry, StoreFile, StoreFolder, StoreFs } from '../src/store/fs.js'
import { LockedError } from '../src/store/lock.js'
import { fsError, MemoryDisk, type Operation } from './memory-disk.js'

/** Names of all operations, also of those that only read. */
export type Step = Operation['name'] | 'list' | 'stat' | 'read' | 'openFolder' | 'close'

/** Thrown by a `before` for every operation from some point on: the machine is off. */
export class PowerCut extends Error {}

export interface MemoryFsOptions {
  disk?: MemoryDisk
  /** Called before each operation. If it throws, the operation fails with that error and does not happen. */
  before?: (step: Step, path: string) => void
  /** Called after each operation. If it throws, the operation fails with that error although it happened. */
  after?: (step: Step, path: string) => void
  /** Operations that report success and do nothing, as if the store forgot them. */
  ignore?: (step: Step, path: string) => boolean
  /** Number of microtasks that an operation takes, so that concurrent changes interleave. */
  delay?: () => number
  /** Most bytes that one write takes. */
  chunk?: number
}

export class MemoryFs implements StoreFs {
  readonly disk: MemoryDisk
  /** Every change so far. Replayed on the disk as it began, they give `disk`. */
  readonly log: Operation[] = []
  readonly #options: MemoryFsOptions
  #files = 0
  #locked = false

  constructor(options: MemoryFsOptions = {}) {
    this.#options = options
    this.disk = options.disk ?? new MemoryDisk()
  }

  mkdir(path: string): Promise<void> {
    return this.#change({ name: 'mkdir', path }, path)
  }

  list(path: string): Promise<string[]> {
    return this.#step('list', path, () => this.disk.list(path))
  }

  stat(path: string): Promise<Entry> {
    return this.#step('stat', path, () => this.disk.stat(path))
  }

  read(path: string, maxBytes: number): Promise<Uint8Array> {
    return this.#step('read', path, () => {
      if (this.disk.stat(path).bytes > maxBytes) throw fsError('EFBIG', path)
      return this.disk.read(path)
    })
  }

  readStart(path: string, bytes: number): Promise<Uint8Array> {
    return this.#step('read', path, () => this.disk.read(path).subarray(0, bytes))
  }

  async create(path: string): Promise<StoreFile> {
    const file = this.#files++
    await this.#change({ name: 'create', path, file }, path)
    return {
      write: async (bytes) => {
        const taken = Uint8Array.from(bytes.subarray(0, this.#options.chunk))
        await this.#change({ name: 'write', file, bytes: taken }, path)
        return taken.length
      },
      sync: () => this.#sync({ name: 'sync', file, failed: false }, path),
      close: () => this.#step('close', path, () => undefined),
    }
  }

  rename(path: string, to: string): Promise<void> {
    return this.#change({ name: 'rename', path, to }, to)
  }

  remove(path: string): Promise<void> {
    return this.#change({ name: 'remove', path }, path)
  }

  openFolder(path: string): Promise<StoreFolder> {
    return this.#step('openFolder', path, () => ({
      sync: () => this.#sync({ name: 'syncFolder', path, failed: false }, path),
      close: async () => {},
    }))
  }

  async lock(): Promise<() => Promise<void>> {
    if (this.#locked) throw new LockedError('another test')
    this.#locked = true
    return async () => {
      this.#locked = false
    }
  }

  async #sync(operation: Extract<Operation, { failed: boolean }>, path: string): Promise<void> {
    try {
      await this.#change(operation, path)
    } catch (error) {
      if (error instanceof PowerCut) throw error
      const failed = { ...operation, failed: true }
      this.disk.apply(failed)
      this.log.push(failed)
      throw error
    }
  }

  #change(operation: Operation, path: string): Promise<void> {
    return this.#step(operation.name, path, () => {
      if (this.#options.ignore?.(operation.name, path)) return
      this.disk.apply(operation)
      this.log.push(operation)
    })
  }

  /** Not an async function: in thousands of recoveries, promises would be most of the work. */
  #step<T>(step: Step, path: string, act: () => T): Promise<T> {
    const wait = this.#options.delay?.() ?? 0
    if (wait > 0) return this.#later(wait, step, path, act)
    try {
      return Promise.resolve(this.#now(step, path, act))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #later<T>(wait: number, step: Step, path: string, act: () => T): Promise<T> {
    for (let left = wait; left > 0; left--) await null
    return this.#now(step, path, act)
  }

  #now<T>(step: Step, path: string, act: () => T): T {
    this.#options.before?.(step, path)
    const result = act()
    this.#options.after?.(step, path)
    return result
  }
}

/**
 * A `before` that fails the `n`th operation (from 1) with `code`, and the name of the operation that it
 * failed.
 */
export function failNth(n: number, code: string) {
  const fault = {
    hit: null as { step: Step; path: string } | null,
    count: 0,
    before(step: Step, path: string): void {
      fault.count += 1
      if (fault.count !== n) return
      fault.hit = { step, path }
      throw fsError(code, path)
    },
  }
  return fault
}
