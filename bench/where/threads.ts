/** CPU time of a process by thread, as the kernel counts it. The process names its threads (`name-threads.cts`). */
import { readdirSync, readFileSync } from 'node:fs'

/** What some threads did in a stretch of time, ms. */
export interface Use {
  /** CPU time. */
  cpu: number
  /** Time in which they were ready to run and had no core. */
  waited: number
  threads: number
}

export const HTTP = 'HTTP thread'
export const LANES = 'lanes'

/** Names of threads, and whose they are. A thread of another name is shown by its name. */
const owners: readonly [RegExp, string][] = [
  [/^facet-lane/, LANES],
  // Worker threads, and what onnxruntime starts in them, have the name of the process.
  [/^(node|MainThread)$/, LANES],
  [/^v8$/, "V8's helpers"],
  [/^pool$/, "libuv's pool"],
  [/vips/, "libvips' workers"],
]

interface Account {
  name: string
  cpu: number
  waited: number
}

/** The threads of a process at a moment. */
export type Accounts = ReadonlyMap<string, Account>

export function accounts(pid: number): Accounts {
  const found = new Map<string, Account>()
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const folder = `/proc/${pid}/task/${thread}`
    try {
      const name = readFileSync(`${folder}/comm`, 'latin1').trim()
      const [cpu, waited] = readFileSync(`${folder}/schedstat`, 'latin1').split(' ').map(Number)
      found.set(thread, {
        name: thread === String(pid) ? HTTP : ownerOf(name),
        cpu: cpu! / 1e6,
        waited: waited! / 1e6,
      })
    } catch {
      // The thread has ended since the folder was read.
    }
  }
  return found
}

function ownerOf(name: string): string {
  return owners.find(([pattern]) => pattern.test(name))?.[1] ?? name
}

/** What the threads of a process did between two moments. Threads that ended meanwhile are missed. */
export function used(before: Accounts, after: Accounts): Map<string, Use> {
  const uses = new Map<string, Use>()
  for (const [thread, { name, cpu, waited }] of after) {
    const since = before.get(thread) ?? { cpu: 0, waited: 0 }
    const use = uses.get(name) ?? { cpu: 0, waited: 0, threads: 0 }
    use.cpu += cpu - since.cpu
    use.waited += waited - since.waited
    use.threads++
    uses.set(name, use)
  }
  return uses
}
