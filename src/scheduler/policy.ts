/**
 * What the next batch consists of. Pure: it reads the line and the situation and changes neither.
 *
 * Three rules:
 * - A lane takes its share of what waits. Where a smaller run is clearly shorter (a CPU), that is one share for each
 *   lane, the busy ones included: they will be free before a run over all that waits would have ended. Otherwise
 *   (a GPU) the free lanes share all that waits.
 * - Where a domain floods, the images of quiet domains run in a small batch of their own, so that they do not wait
 *   for a batch full of the flood's images. Only where a small batch is short, and little of a full batch's time is
 *   lost by it.
 * - Never two such batches in a row: the flood must not starve either.
 */
import type { LineLimits } from './domain-line.js'
import type { Line, LineEntry } from './line.js'

/** Places of a principal in the line, and of a domain in its principal's. */
const PLACES = 2
/** Few images wait where two batches of each lane take them: so long a domain may have to wait for the others. */
const FEW_BATCHES = 2
/** Batches of eight at least: two batches of one image would be none. */
const MIN_FEW_BATCH = 8

/** A quiet batch may take at most half the time of a full one, */
const QUIET_MAX_TIME_RATIO = 0.5
/**
 * and so much of a full batch's time beyond its images' share of it, at most: what the flood loses by it. One image of a
 * batch of eight may cost three times its share; twice was too strict, for its run often seems dearer than it is
 * (docs/experiments/2026-11-28-what-a-flood-costs-a-quiet-domain.md).
 */
const QUIET_MAX_LOSS_RATIO = 0.25
/** Lanes share what waits only where the smaller run takes at most 75% of the larger one's time. */
const SHARE_MAX_TIME_RATIO = 0.75

/** @param maxBatch most entries of a batch */
export function lineLimits(lanes: () => number, maxBatch: () => number): LineLimits {
  return {
    // Where entries run one by one, a second place of a flood would cost the others one more run.
    places: () => Math.min(PLACES, lanes() * maxBatch()),
    few: () => FEW_BATCHES * lanes() * Math.max(MIN_FEW_BATCH, maxBatch()),
  }
}

export interface Situation {
  /** Lanes that run nothing, at least 1. */
  free: number
  /** Lanes that were not given a batch in this turn: the free ones, and those that were busy before it. */
  unserved: number
  /** All lanes. */
  lanes: number
  /** Most entries of one batch, at least 1. */
  maxBatch: number
  /** So many entries run in order of arrival (`LineLimits`). */
  few: number
  /** Measured run time of a batch of so many entries, ms; null where it is not known. */
  runMs(size: number): number | null
  /** The batch before this one was one of quiet domains. */
  lastWasQuiet: boolean
}

export interface BatchPlan<E> {
  /** Entries of quiet domains that make the batch by themselves; empty where the batch is the line's. */
  quiet: E[]
  /** Otherwise, and where none of those can run any more: the batch is the first so many entries of the line. */
  size: number
}

export function nextBatch<E extends LineEntry>(line: Line<E>, situation: Situation): BatchPlan<E> {
  const { maxBatch, few, lastWasQuiet } = situation
  const share = shareOf(line.length, situation)
  const crowded = share > maxBatch && line.length > few
  const quiet = crowded && !lastWasQuiet ? quietEntries(line, situation) : []
  return { quiet, size: Math.min(share, maxBatch) }
}

/** One lane's share of the entries that wait. */
function shareOf(waiting: number, { free, unserved, maxBatch, runMs }: Situation): number {
  const ofFreeLanes = Math.ceil(waiting / free)
  const ofAllLanes = Math.ceil(waiting / unserved)
  const longMs = runMs(Math.min(ofFreeLanes, maxBatch))
  const shortMs = runMs(Math.min(ofAllLanes, maxBatch))
  const worthSharing = longMs !== null && shortMs !== null && shortMs <= SHARE_MAX_TIME_RATIO * longMs
  return worthSharing ? ofAllLanes : ofFreeLanes
}

/** Entries of quiet domains, as many as make a batch that keeps to both bounds; none where no such batch exists. */
function quietEntries<E extends LineEntry>(line: Line<E>, { lanes, maxBatch, runMs }: Situation): E[] {
  const fullMs = runMs(maxBatch)
  if (fullMs === null) return []
  const mostMs = (size: number) =>
    fullMs * Math.min(QUIET_MAX_TIME_RATIO, QUIET_MAX_LOSS_RATIO + size / maxBatch)
  // A domain floods when more of it waits than one batch of each lane takes. By chance alone no domain has so many.
  const quiet = line.quiet(Math.floor(maxBatch * QUIET_MAX_TIME_RATIO), maxBatch * lanes)
  while (quiet.length > 0 && (runMs(quiet.length) ?? fullMs) > mostMs(quiet.length)) quiet.pop()
  return quiet
}
