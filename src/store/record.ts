/**
 * A domain's record as bytes: `{"sha256": "...", "record": {...}}`. The checksum is of the record's JSON text
 * as `JSON.stringify` writes it, so that a torn, truncated or hand-edited record is recognised.
 */
import { sha256Now } from '../bytes/digest.js'
import { isDomainId } from '../domain-id.js'
import { isVersion } from './layout.js'
import type { DomainRecord, StoredRecord, VersionRecord } from './store.js'

/** A record that cannot be read; `message` says what is wrong with it. */
export class RecordError extends Error {
  override name = 'RecordError'
}

/** Bytes of `record`. @throws RecordError for a record that `decodeRecord` would refuse */
export function encodeRecord(record: DomainRecord): Uint8Array {
  const checked = checkRecord(record, record.domain)
  const sha256 = sha256Now(JSON.stringify(checked))
  return Buffer.from(`${JSON.stringify({ sha256, record: checked }, null, 2)}\n`)
}

/** The record of `domain` in `bytes`. Its revision is its checksum. @throws RecordError */
export function decodeRecord(bytes: Uint8Array, domain: string): StoredRecord {
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw new RecordError(`it is not JSON (${bytes.length} bytes): torn or damaged`)
  }
  if (!isObject(parsed) || !isObject(parsed.record)) throw new RecordError('it holds no record')
  const revision = sha256Now(JSON.stringify(parsed.record))
  if (revision !== parsed.sha256) {
    throw new RecordError('its checksum is wrong: torn, damaged or edited by hand')
  }
  return { record: checkRecord(parsed.record, domain), revision }
}

/** The known fields of `value`, each of the right type, in a fixed order. */
function checkRecord(value: object, domain: string): DomainRecord {
  const fields = value as Record<string, unknown>
  const versions = fields.versions
  if (fields.domain !== domain || !isDomainId(domain)) {
    throw new RecordError(`it names the domain ${JSON.stringify(fields.domain)}`)
  }
  if (!Array.isArray(versions)) throw new RecordError('"versions" is not a list')
  const record: DomainRecord = {
    domain,
    active: fields.active === null ? null : string(fields, 'active'),
    versions: versions.map(checkVersionRecord),
    pinned: boolean(fields, 'pinned'),
    deleted: boolean(fields, 'deleted'),
    updated: string(fields, 'updated'),
  }
  const names = new Set(record.versions.map((entry) => entry.version))
  if (names.size !== record.versions.length) throw new RecordError('a version is listed twice')
  if (record.active !== null && !names.has(record.active)) {
    throw new RecordError('its active version is not among its versions')
  }
  return record
}

function checkVersionRecord(value: unknown): VersionRecord {
  if (!isObject(value)) throw new RecordError('an entry of "versions" is not an object')
  const version = string(value, 'version')
  if (!isVersion(version)) throw new RecordError(`${JSON.stringify(version)} is not a version`)
  return {
    version,
    bytes: count(value, 'bytes'),
    created: string(value, 'created'),
    design: string(value, 'design'),
    classes: count(value, 'classes'),
    ...(value.adapter === undefined ? {} : { adapter: string(value, 'adapter') }),
    ...(value.head === undefined ? {} : { head: string(value, 'head') }),
    ...(value.family === undefined ? {} : { family: string(value, 'family') }),
    ...(value.seed === undefined ? {} : { seed: boolean(value, 'seed') }),
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function string(fields: Record<string, unknown>, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string') throw new RecordError(`"${name}" is not a string`)
  return value
}

function boolean(fields: Record<string, unknown>, name: string): boolean {
  const value = fields[name]
  if (typeof value !== 'boolean') throw new RecordError(`"${name}" is neither true nor false`)
  return value
}

function count(fields: Record<string, unknown>, name: string): number {
  const value = fields[name]
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new RecordError(`"${name}" is not a count`)
  return value as number
}
