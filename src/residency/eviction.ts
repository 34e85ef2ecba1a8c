/**
 * Which version leaves the bank when another needs room. Pure: it reads the situation and changes nothing.
 *
 * - A pinned version never leaves. One that is not active leaves first. An active one stays for its minimum residency.
 * - A version that is asked for again and again is *hot*. It leaves only where cold ones cannot make the room, now or
 *   when their minimum residency ends. So requests for many cold domains do not push out the domains in use.
 * - Where all are hot, a cold version gets in all the same: the one least in demand leaves.
 * - Versions in equal demand take turns: those of the principal with the most rows leave first, and among these the
 *   one that was loaded first.
 */
import type { Standing } from './versions.js'

/** A version in a row. */
export interface Occupant {
  readonly standing: Standing
  /** Its decayed count of requests (`demand.ts`). */
  readonly demand: number
  /** Milliseconds until its minimum residency ends. */
  readonly youthMs: number
  /** Rows of the principal that asked for it last. */
  readonly rowsOfPrincipal: number
  /** `clock.now()` when it was loaded, and when it was last asked for. */
  readonly since: number
  readonly used: number
  readonly bytes: number
}

/** A version that waits for a row. */
export interface Newcomer {
  /** Its demand when it was last asked for. */
  readonly demand: number
  readonly bytes: number
}

/** What is free. Bytes are below 0 where a smaller budget is overdrawn. */
export interface Room {
  readonly rows: number
  readonly bytes: number
}

/** A version of such a demand is hot: it was asked for at least twice lately, apart from each other. */
export const HOT_DEMAND = 1.25
/** All demand from here on is equal: of a version that was asked for twice in each minimum residency for a while. */
export const HIGH_DEMAND = 4

/**
 * The versions that may leave for a newcomer, in the order in which they should: cold ones, and as many hot ones as
 * make room for it where cold ones cannot. Where one of these has not had its minimum residency, the newcomer waits for
 * that and does not take the room of one more in demand; only a newcomer in high demand itself waits for nobody.
 * @param coming room that was granted and is not filled: what is loaded there is not hot
 */
export function leaving<O extends Occupant>(
  occupants: readonly O[],
  newcomer: Newcomer,
  free: Room,
  coming: Room,
): { cold: O[]; hot: O[] } {
  const waits = newcomer.demand < HIGH_DEMAND
  const evictable = occupants.filter(({ standing }) => standing !== 'pinned')
  const candidates = waits ? evictable : evictable.filter(isOldEnough)
  const cold = candidates.filter((occupant) => !isHot(occupant)).sort(coldFirst)
  const hot = candidates.filter(isHot).sort(hotLast)
  let rows = free.rows + cold.length + (waits ? coming.rows : 0)
  let bytes = free.bytes + bytesOf(cold) + (waits ? coming.bytes : 0)
  let needed = 0
  for (; needed < hot.length && (rows < 1 || bytes < newcomer.bytes); needed++) {
    rows++
    bytes += hot[needed]!.bytes
  }
  return { cold: cold.filter(isOldEnough), hot: hot.slice(0, needed).filter(isOldEnough) }
}

function isHot({ standing, demand }: Occupant): boolean {
  return standing === 'active' && demand >= HOT_DEMAND
}

function bytesOf(occupants: readonly Occupant[]): number {
  return occupants.reduce((sum, { bytes }) => sum + bytes, 0)
}

function isOldEnough({ standing, youthMs }: Occupant): boolean {
  return standing !== 'active' || youthMs <= 0
}

/** Those that are not active first, then the least recently asked for. */
function coldFirst(a: Occupant, b: Occupant): number {
  return Number(a.standing === 'active') - Number(b.standing === 'active') || a.used - b.used
}

function hotLast(a: Occupant, b: Occupant): number {
  return (
    Math.min(a.demand, HIGH_DEMAND) - Math.min(b.demand, HIGH_DEMAND) ||
    b.rowsOfPrincipal - a.rowsOfPrincipal ||
    a.since - b.since
  )
}
