/** The domains at start: the families' bases, the shipped packs, the store's records. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { FacetError } from '../errors.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import { BASE_FILE, type Family } from '../family/family.js'
import { ownAdapter } from '../pack/extent.js'
import { readPackInfo } from '../pack/read.js'
import { sha256 } from '../bytes/digest.js'
import type { Seed } from '../store/seeds.js'
import type { DomainRecord, StoreProblem, VersionRecord } from '../store/store.js'
import { activeVersion, type DomainState, mergedState } from './catalog.js'
import { extentOf, recorded } from './extents.js'
import type { Families } from './families.js'
import type { Packs } from './packs.js'
import type { PinRoom } from '../residency/pins.js'
import { aboutBase } from '../residency/prepare.js'
import type { Residency } from '../residency/residency.js'

/** A family's base as a shipped pack. Its version is the SHA-256 of its file. */
export function baseSeed({ dir, manifest, base }: Family): Seed {
  const { sha256: version, bytes } = manifest.files[BASE_FILE]!
  const path = join(dir, BASE_FILE)
  return {
    domain: BASE_DOMAIN,
    path,
    record: {
      version,
      bytes,
      created: manifest.provenance.created,
      design: base.design,
      ...recorded(aboutBase(base)),
      family: manifest.fingerprint,
      seed: true,
    },
    read: async () => {
      const content = await readFile(path).catch((cause: unknown) => {
        throw new FacetError('domain_failed', "The base's pack cannot be read.", { cause })
      })
      if ((await sha256(content)) === version) return content
      throw new FacetError('domain_failed', "The base's pack has changed on disk.")
    },
  }
}

/**
 * What a listing shows of a shipped pack, read from its header alone.
 * @param families those that are served
 * @throws FacetError `invalid_pack`
 */
export function describePack(
  bytes: Uint8Array,
  families: readonly Pick<Family, 'manifest' | 'base'>[],
): Omit<VersionRecord, 'version' | 'bytes'> {
  const info = readPackInfo(bytes)
  const { design, created = '', family, halfHead, classes } = info
  const own = families.find(({ manifest }) => manifest.fingerprint === family)
  const adapter = own ? ownAdapter(info, own.base) : 'whole'
  return { design, created, family, ...recorded({ adapter, classes, halfHead }) }
}

/**
 * The states of the domains at start, without the bases'. A domain whose record cannot be read is listed as
 * broken: it must not fall back to the shipped pack of its name.
 */
export function openingStates(
  records: readonly DomainRecord[],
  packs: Pick<Packs, 'shipped' | 'seeds'>,
  problems: readonly StoreProblem[],
  logger: Logger,
): DomainState[] {
  const recordOf = new Map(records.map((record) => [record.domain, record]))
  const brokenOf = new Map<string, string>()
  for (const { domain, version, message } of problems)
    if (domain !== undefined && version === undefined && !recordOf.has(domain)) brokenOf.set(domain, message)
  const states: DomainState[] = []
  for (const domain of [...new Set([...recordOf.keys(), ...packs.shipped(), ...brokenOf.keys()])].sort()) {
    if (domain === BASE_DOMAIN) {
      logger.error({ domain }, 'the store holds a record of the base domain; ignored')
      continue
    }
    const broken = brokenOf.get(domain)
    if (broken !== undefined) {
      states.push({ domain, active: null, versions: [], pinned: false, updated: null, broken })
      continue
    }
    const state = mergedState(domain, recordOf.get(domain), packs.seeds(domain))
    if (state !== null) states.push(state)
  }
  return states
}

/**
 * The states without the pins that have no room (the bank is smaller than last time, or shared by more families): they
 * are dropped beginning with the last domain in the order of ids.
 */
export function withRoomForPins(
  states: readonly DomainState[],
  families: Pick<Families, 'served'>,
  logger: Logger,
): DomainState[] {
  const rooms = new Map<Residency, PinRoom>()
  const roomOf = (residency: Residency) => {
    let room = rooms.get(residency)
    if (room === undefined) {
      const own = states.flatMap(({ versions }) =>
        versions.filter(({ family }) => families.served(family) === residency),
      )
      const bytes = (most: number, record: VersionRecord) =>
        Math.max(most, residency.rowBytes(extentOf(record)))
      room = residency.pinRoom(own.reduce(bytes, 0))
      rooms.set(residency, room)
    }
    return room
  }
  return states.map((state) => {
    const active = activeVersion(state)
    const residency = families.served(active?.family)
    // What is not served takes no room.
    if (!state.pinned || active === undefined || residency === undefined) return state
    if (roomOf(residency).add(residency.rowBytes(extentOf(active)))) return state
    logger.warn({ domain: state.domain }, 'pin dropped: the bank has no room for it')
    return { ...state, pinned: false }
  })
}
