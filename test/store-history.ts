/**
 * Makes random changes to a store, notes which were acknowledged when, and checks whether a recovered store
 * agrees. Time is the number of changes made to the disk so far (the length of the file system's log).
 */
import { createHash } from 'node:crypto'
import { LocalStore } from '../src/store/local.js'
import type { DomainRecord, Revision, Store, StoreProblem, VersionRecord } from '../src/store/store.js'
import { ManualClock } from './manual-clock.js'
import type { MemoryDisk, Outcome } from './memory-disk.js'
import { MemoryFs, type MemoryFsOptions } from './memory-fs.js'
import type { Random } from './random.js'

export const DATA = '/data'

export function versionOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function memoryStore(fs: MemoryFs, quota?: number): LocalStore {
  return new LocalStore({
    dir: DATA,
    fs,
    clock: new ManualClock(),
    ...(quota === undefined ? {} : { quota }),
  })
}

export function recordOf(domain: string, versions: VersionRecord[], active = versions.at(-1)): DomainRecord {
  return {
    domain,
    active: active?.version ?? null,
    versions,
    pinned: false,
    deleted: false,
    updated: '2026-01-01T00:00:00.000Z',
  }
}

/** The records of a store, by domain. */
export async function recordsOf(store: Store): Promise<Map<string, DomainRecord>> {
  return new Map((await store.records()).map(({ record }) => [record.domain, record]))
}

async function revisionOf(store: Store, domain: string): Promise<Revision | null> {
  return (await store.records()).find(({ record }) => record.domain === domain)?.revision ?? null
}

/** Writes a record over whatever is there. */
export async function writeOver(store: Store, record: DomainRecord): Promise<Revision> {
  return store.writeRecord(record, await revisionOf(store, record.domain))
}

/** Removes a domain's record, whatever it is. */
export async function removeCurrent(store: Store, domain: string): Promise<void> {
  await store.removeRecord(domain, await revisionOf(store, domain))
}

export function versionRecord(bytes: Uint8Array): VersionRecord {
  return {
    version: versionOf(bytes),
    bytes: bytes.length,
    created: '2026-01-01T00:00:00.000Z',
    design: 'parallel',
    classes: 10,
  }
}

interface Change {
  began: number
  /** Infinity until it is acknowledged. */
  acknowledged: number
  /** The record that was written; null for a removal. */
  record: DomainRecord | null
}

interface Hold {
  version: string
  from: number
  until: number
}

export class History {
  readonly #changes = new Map<string, Change[]>()
  readonly #holds: Hold[] = []
  readonly #packs = new Map<string, Uint8Array>()

  /**
   * @param time the current length of the log
   * @param before the earlier history of the store's disk
   */
  constructor(
    readonly time: () => number,
    before?: History,
  ) {
    for (const [domain, changes] of before === undefined ? [] : before.#changes) {
      const last = changes.findLastIndex(({ acknowledged }) => acknowledged < Infinity)
      const open = changes.slice(Math.max(0, last))
      this.#changes.set(
        domain,
        open.map(({ acknowledged, record }) => ({
          began: -1,
          acknowledged: acknowledged < Infinity ? -1 : Infinity,
          record,
        })),
      )
    }
  }

  /** From now on, only the records that `store`, just opened, serves are right. */
  async settle(store: Store): Promise<void> {
    const found = await recordsOf(store)
    for (const domain of new Set([...this.#changes.keys(), ...found.keys()])) {
      const now = this.time()
      const record = found.get(domain) ?? null
      this.#changes.set(domain, [
        ...(this.#changes.get(domain) ?? []),
        { began: now, acknowledged: now, record },
      ])
    }
  }

  /** The record of `domain` as last acknowledged. */
  current(domain: string): DomainRecord | null {
    return this.#changes.get(domain)?.findLast(({ acknowledged }) => acknowledged < Infinity)?.record ?? null
  }

  async write(store: Store, record: DomainRecord): Promise<void> {
    await this.#track(record.domain, record, () => writeOver(store, record))
  }

  async remove(store: Store, domain: string): Promise<void> {
    await this.#track(domain, null, () => removeCurrent(store, domain))
  }

  /** Puts a blob and holds it until the returned function is called. */
  async put(store: Store, bytes: Uint8Array): Promise<() => void> {
    const hold = { version: versionOf(bytes), from: Infinity, until: Infinity }
    this.#packs.set(hold.version, bytes)
    this.#holds.push(hold)
    await store.putBlob(hold.version, bytes)
    hold.from = this.time()
    return () => {
      hold.until = this.time()
    }
  }

  async collect(store: Store): Promise<void> {
    await store.collect(
      new Set(this.#holds.filter(({ until }) => until === Infinity).map(({ version }) => version)),
    )
  }

  /** Records that may be found for `domain` when the disk stopped after `time` changes. */
  allowed(domain: string, time: number): (DomainRecord | null)[] {
    let allowed: (DomainRecord | null)[] = [null]
    for (const { began, acknowledged, record } of this.#changes.get(domain) ?? []) {
      if (acknowledged <= time) allowed = [record]
      else if (began < time) allowed.push(record)
    }
    return allowed
  }

  /** Everything that is wrong with a store opened after the disk stopped at `time`; empty if nothing is. */
  async check(store: Store, time: number): Promise<string[]> {
    const wrong: string[] = []
    const found = await recordsOf(store)
    for (const domain of new Set([...this.#changes.keys(), ...found.keys()])) {
      const text = JSON.stringify(found.get(domain) ?? null)
      if (!this.allowed(domain, time).some((record) => JSON.stringify(record) === text)) {
        wrong.push(`domain ${domain} at ${time}: found ${text}`)
      }
    }
    const named = [...found.values()].flatMap(({ versions }) => versions.map(({ version }) => version))
    const held = this.#holds
      .filter(({ from, until }) => from <= time && time <= until)
      .map(({ version }) => version)
    for (const version of new Set([...named, ...held])) {
      try {
        const bytes = await store.readBlob(version)
        const put = this.#packs.get(version)
        if (put !== undefined && Buffer.compare(bytes, put) !== 0) wrong.push(`blob ${version}: other bytes`)
        if (!(await store.hasBlob(version))) wrong.push(`blob ${version}: readable, yet denied`)
      } catch (error) {
        wrong.push(`blob ${version} at ${time}: ${String(error)}`)
      }
    }
    return wrong
  }

  async #track(domain: string, record: DomainRecord | null, act: () => Promise<unknown>): Promise<void> {
    const change: Change = { began: this.time(), acknowledged: Infinity, record }
    const changes = this.#changes.get(domain) ?? []
    changes.push(change)
    this.#changes.set(domain, changes)
    await act()
    change.acknowledged = this.time()
  }
}

/** Changes its own domains one after another, until `more` returns false or the store fails. */
export async function runLane(
  store: Store,
  history: History,
  options: { domains: readonly string[]; pool: readonly Uint8Array[]; random: Random; more: () => boolean },
): Promise<void> {
  const { domains, pool, random, more } = options
  while (more()) {
    const domain = random.pick(domains)
    const record = history.current(domain)
    const kind = random.next()
    if (kind < 0.55) {
      await putVersion(store, history, record ?? recordOf(domain, []), pool, random)
    } else if (kind < 0.7 && record !== null && record.versions.length > 0) {
      await history.write(store, { ...record, active: random.pick(record.versions).version })
    } else if (kind < 0.78 && record !== null) {
      await history.write(store, { ...record, pinned: !record.pinned })
    } else if (kind < 0.84) {
      await history.write(store, { ...recordOf(domain, []), deleted: true })
    } else if (kind < 0.9) {
      await history.remove(store, domain)
    } else {
      await history.collect(store)
    }
  }
}

/**
 * Changes a domain as a registry does: puts the blob, writes the record, collects blobs that no record names.
 */
async function putVersion(
  store: Store,
  history: History,
  before: DomainRecord,
  pool: readonly Uint8Array[],
  random: Random,
): Promise<void> {
  const bytes = random.next() < 0.5 ? random.pick(pool) : random.bytes(1 + random.below(200))
  const release = await history.put(store, bytes)
  const abandoned = random.next() < 0.15
  if (!abandoned) {
    const added = versionRecord(bytes)
    const versions = [...before.versions.filter(({ version }) => version !== added.version), added].slice(-2)
    const active = random.next() < 0.8 ? added : versions[0]
    await history.write(store, { ...recordOf(before.domain, versions, active), pinned: before.pinned })
  }
  release()
  await history.collect(store)
}

/**
 * Opens the store on `disk` after a crash and returns everything that is wrong with it.
 * @param ignore operations that the recovering store forgets
 */
export async function checkCrash(
  disk: MemoryDisk,
  outcome: Outcome,
  history: History,
  time: number,
  ignore: MemoryFsOptions['ignore'] = () => false,
): Promise<string[]> {
  const fs = new MemoryFs({ disk: disk.crash(outcome), ignore })
  const store = memoryStore(fs)
  let problems: StoreProblem[]
  try {
    problems = await store.open()
  } catch (error) {
    return [`it does not open: ${String(error)}`]
  }
  const wrong = problems.map(({ subject, message }) => `problem with ${subject}: ${message}`)
  wrong.push(...(await history.check(store, time)))
  const left = await fs.list(`${DATA}/tmp`)
  if (left.length > 0) wrong.push(`temporary files: ${left.join(', ')}`)
  if (outcome === 'killed') wrong.push(...(await checkServedIsKept(fs.disk, store)))
  return wrong
}

/** Checks that a restarted service keeps what it serves, even if the power fails right after. */
async function checkServedIsKept(disk: MemoryDisk, store: Store): Promise<string[]> {
  const again = memoryStore(new MemoryFs({ disk: disk.crash('lost') }))
  await again.open()
  return (await sortedRecords(again)) === (await sortedRecords(store))
    ? []
    : ['records that were served are lost']
}

export async function sortedRecords(store: Store): Promise<string> {
  return JSON.stringify([...(await recordsOf(store)).values()].sort((a, b) => (a.domain < b.domain ? -1 : 1)))
}
