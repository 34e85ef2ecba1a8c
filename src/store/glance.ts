/** A glance into a data folder that is not opened: nothing in it is changed, locked or checked. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { domainOfFile, Layout, MAX_RECORD_BYTES } from './layout.js'
import { decodeRecord } from './record.js'

/** Records that are looked at: one that is found is enough. */
const MOST_RECORDS = 200

/** Whether a folder is a store in which a domain serves a version of one of these families (fingerprints). */
export async function servesFamilies(dir: string, families: ReadonlySet<string>): Promise<boolean> {
  const layout = new Layout(dir)
  const names = await readdir(layout.domains).catch(() => [])
  const domains = names.flatMap((name) => domainOfFile(name) ?? [])
  for (const domain of domains.slice(0, MOST_RECORDS)) {
    const file = layout.record(domain)
    try {
      if ((await stat(file)).size > MAX_RECORD_BYTES) continue
      const { active, versions } = decodeRecord(await readFile(file), domain).record
      const family = versions.find(({ version }) => version === active)?.family
      if (family !== undefined && families.has(family)) return true
    } catch {
      // Whoever opens the store says what is wrong with it.
    }
  }
  return false
}
