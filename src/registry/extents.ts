/** What a version brings (`pack/extent.ts`), as the records say it. */
import { type Extent, ownAdapters } from '../pack/extent.js'
import type { VersionRecord } from '../store/store.js'

/** Heads in the records. */
const HALF = 'f16'
const SINGLE = 'f32'

/** What a version's row holds; where a record was written before it said that, no less than it holds. */
export function extentOf({ adapter, classes, head }: VersionRecord): Extent {
  const known = ownAdapters.find((name) => name === adapter)
  return { adapter: known ?? 'whole', classes, halfHead: head === HALF }
}

/** The same in a record. */
export function recorded({
  adapter,
  classes,
  halfHead,
}: Extent): Pick<VersionRecord, 'classes' | 'adapter' | 'head'> {
  return { classes, adapter, ...(classes > 0 && { head: halfHead ? HALF : SINGLE }) }
}
