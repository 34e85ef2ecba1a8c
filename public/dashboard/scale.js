/**
 * The picture of memory: for each family a bar of what its trunk and its domains take, and under it a bar of the
 * networks that the same domains would need without it. All bars have one scale, bytes.
 *
 * The lower bar shows dedicated networks at their best: weights alone, adapters merged in, in the trunk's precision.
 * Domains that are on disk take no memory; they are drawn apart, as what they would add.
 *
 * A token may show some of the domains only, while the account is of all: both bars have the others as one segment.
 */

/**
 * @typedef {import('./types.js').Family} Family
 * @typedef {import('./types.js').Domain} Domain
 *
 * @typedef {object} Segment
 * @property {string} label
 * @property {number} bytes
 * @property {'trunk' | 'resident' | 'cold' | 'rest'} kind
 * @property {string | null} domain whose colour it has
 *
 * @typedef {{ segments: Segment[], now: number, all: number }} Bar bytes of what is resident, and with what is on disk
 *
 * @typedef {object} FamilyPicture
 * @property {string} name
 * @property {Bar} shared
 * @property {Bar} apart
 * @property {number} resident distinct versions in memory
 * @property {number} cold distinct versions on disk
 * @property {number} others versions in memory that the listing does not have
 */

const F32_BYTES = 4
const OTHERS = 'other domains and versions'
/** Segments of a bar; the domains beyond are one segment together. */
const MOST_SEGMENTS = 240
/** Packs have half precision; a bank of full precision takes twice their bytes. */
const BANK_BYTES_OF_PACK = { f32: 2, f16: 1 }

/**
 * @param {readonly Family[]} families @param {readonly Domain[]} domains
 * @returns {{ families: FamilyPicture[], scale: number }} `scale`: bytes of the longest bar
 */
export function pictureOf(families, domains) {
  const pictures = families.map((family) =>
    familyPicture(
      family,
      domains.filter((domain) => domain.family === family.name),
    ),
  )
  const scale = Math.max(1, ...pictures.flatMap(({ shared, apart }) => [shared.all, apart.all]))
  return { families: pictures, scale }
}

/** @param {Family} family @param {readonly Domain[]} domains its own @returns {FamilyPicture} */
function familyPicture(family, domains) {
  const { memory, features, execution } = family
  const versions = distinctVersions(domains)
  const resident = versions.filter(({ residency }) => residency === 'resident')
  const cold = versions.filter(({ residency }) => residency === 'cold' || residency === 'loading')
  const head = (/** @type {{ classes: number }} */ { classes }) => classes * (features + 1) * F32_BYTES
  const heads = resident.reduce((sum, version) => sum + head(version), 0)
  const network = networkBytes(memory, heads, resident)
  const factor = execution.bank_dtype === 'f16' ? BANK_BYTES_OF_PACK.f16 : BANK_BYTES_OF_PACK.f32

  const own = resident.map((version) => segment(version, 'resident', version.bytes.resident))
  const rest = memory.adapter_bytes + memory.head_bytes - own.reduce((sum, { bytes }) => sum + bytes, 0)
  const shared = [
    /** @type {Segment} */ ({ label: 'trunk', bytes: memory.trunk_bytes, kind: 'trunk', domain: null }),
    ...grouped(own),
    ...others(OTHERS, rest),
    ...others('networks of their own for the busiest domains', memory.specialised.bytes),
    ...grouped(cold.map((version) => segment(version, 'cold', version.bytes.pack * factor))),
  ]
  const alone = resident.map((version) => segment(version, 'resident', network + head(version)))
  const elsewhere = memory.dedicated_bytes - alone.reduce((sum, { bytes }) => sum + bytes, 0)
  const apart = [
    ...grouped(alone),
    ...others(OTHERS, elsewhere),
    ...grouped(cold.map((version) => segment(version, 'cold', network + head(version)))),
  ]
  return {
    name: family.name,
    shared: bar(shared),
    apart: bar(apart),
    resident: resident.length,
    cold: cold.length,
    others: Math.max(0, memory.rows.used - resident.length),
  }
}

/**
 * Bytes of one dedicated network, its head not counted. The account has them of all active versions in memory. Where
 * the listing has fewer versions than the bank has rows, the others may be other people's domains or versions that are
 * not active; they are taken for domains, which gives too little rather than too much.
 * @param {Family['memory']} memory @param {number} heads bytes of the listed versions' heads
 * @param {readonly unknown[]} resident listed versions in memory
 */
function networkBytes({ dedicated_bytes, head_bytes, rows }, heads, resident) {
  const all = rows.used <= resident.length
  const networks = dedicated_bytes - (all ? heads : head_bytes)
  return Math.max(0, networks) / Math.max(1, all ? resident.length : rows.used)
}

/**
 * @typedef {Domain & { names: string[] }} NamedVersion
 * Domains that serve one version take its bytes once. @param {readonly Domain[]} domains @returns {NamedVersion[]}
 */
function distinctVersions(domains) {
  /** @type {Map<string, NamedVersion>} */
  const versions = new Map()
  for (const domain of domains) {
    if (domain.version === null) continue
    const known = versions.get(domain.version)
    if (known) known.names.push(domain.domain)
    else versions.set(domain.version, { ...domain, names: [domain.domain] })
  }
  return [...versions.values()]
}

/** @param {NamedVersion} version @param {Segment['kind']} kind @param {number} bytes @returns {Segment} */
function segment({ names, domain }, kind, bytes) {
  return { label: names.join(', '), bytes, kind, domain }
}

/** @param {string} label @param {number} bytes @returns {Segment[]} */
function others(label, bytes) {
  return bytes >= 1 ? [{ label, bytes, kind: 'rest', domain: null }] : []
}

/** @param {Segment[]} segments of one kind @returns {Segment[]} */
function grouped(segments) {
  const rest = segments.slice(MOST_SEGMENTS)
  const first = segments[0]
  if (rest.length === 0 || first === undefined) return segments
  const bytes = rest.reduce((sum, segment) => sum + segment.bytes, 0)
  const label = `${rest.length} more domains`
  return [...segments.slice(0, MOST_SEGMENTS), { label, bytes, kind: first.kind, domain: null }]
}

/** @param {Segment[]} segments @returns {Bar} */
function bar(segments) {
  const all = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  const later = segments.reduce((sum, { kind, bytes }) => sum + (kind === 'cold' ? bytes : 0), 0)
  return { segments, now: all - later, all }
}

/**
 * Round places for marks on the axis from 0 to `most`, about `count` of them.
 * @param {number} most bytes @param {number} count
 */
export function ticksOf(most, count) {
  const rough = most / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1)
  const ticks = []
  for (let tick = 0; tick <= most; tick += step) ticks.push(tick)
  return ticks
}

/**
 * A hue for each domain, in degrees. Neighbours in the order of ids are far apart on the circle.
 * @param {readonly string[]} domains @returns {Map<string, number>}
 */
export function huesOf(domains) {
  const GOLDEN_ANGLE = 137.508
  return new Map([...domains].sort().map((domain, index) => [domain, (28 + index * GOLDEN_ANGLE) % 360]))
}
