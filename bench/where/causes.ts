/**
 * Where the time of the HTTP thread goes: a CPU profile of V8, summed by cause.
 *
 * A sample counts for the function that was running, or where that is a helper (Node's buffers, events, timers, files)
 * for the function that called it. Samples are counted, and not the time between them: a thread that waits for a core
 * gets one sample afterwards, however long it waited.
 */
import type { Profiler } from 'node:inspector'

interface Cause {
  name: string
  /** Of a frame: `function file`, the file as a URL. */
  frame: RegExp
}

const MEASURING = 'measuring'

/** The first that fits a frame counts. Order matters: files before their folders. */
const causes: readonly Cause[] = [
  { name: 'garbage collector', frame: /^\(garbage collector\)/ },
  { name: 'system calls and native code without JavaScript', frame: /^\((program|root)\)/ },
  {
    name: 'log',
    frame:
      /\/node_modules\/(pino|sonic-boom|thread-stream|safe-stable-stringify|quick-format-unescaped|pino-[\w-]+)\/|\/src\/serve\/log\.js|\/src\/shown-text\.js|\/node_modules\/fastify\/lib\/log/,
  },
  {
    name: 'JSON of answers',
    frame:
      /^(serialize|preserialize\w*|JSON\w*) .*\/fastify\/lib\/|\/fast-json-stringify\/|\/src\/http\/routes\/v1\/answers\.js|\/src\/predict\/scores\.js/,
  },
  {
    name: 'fastify',
    frame:
      /\/node_modules\/(fastify|find-my-way|avvio|secure-json-parse|@fastify|light-my-request|proxy-addr|forwarded|ipaddr\.js|rfdc|toad-cache|fast-\w+|reusify|process-warning|abstract-logging)\//,
  },
  { name: 'metrics', frame: /\/node_modules\/prom-client\/|\/src\/serve\/(metrics|gauges)\.js/ },
  { name: 'reading bodies', frame: /\/src\/http\/bodies\/|\/src\/bytes\// },
  { name: 'records (id, log line, metrics of a request)', frame: /\/src\/http\/exchange\/record\.js/ },
  {
    name: 'other hooks (access, header fields, connections)',
    frame: /\/src\/http\/(app|access|connections|exchange)/,
  },
  { name: 'routes', frame: /\/src\/http\// },
  {
    name: 'image header and hand-over to the decoder',
    frame: /\/src\/image\/|\/node_modules\/(sharp|@img|detect-libc|color\w*|semver)\//,
  },
  { name: "decoder's turns", frame: /\/src\/concurrency\/(gate|fair-queue)\.js/ },
  { name: 'long work in turns', frame: /\/src\/concurrency\/turns\.js/ },
  { name: 'batches to the engine', frame: /\/src\/predict\/batch-runner\.js|\/src\/engine\// },
  { name: 'admission, path of a request', frame: /\/src\/(predict|serve)\// },
  { name: 'scheduler', frame: /\/src\/scheduler\// },
  { name: 'registry and leases', frame: /\/src\/(registry|residency|family|manifest)\// },
  { name: MEASURING, frame: /\/bench\/|node:inspector/ },
  {
    name: "Node's http and sockets",
    frame:
      / node:(_http|http|net|_stream|stream|internal\/(http|streams|stream_base|js_stream|net|socket|dns))/,
  },
]
const REST = "Node's timers, promises, events and the rest"
const IDLE = '(idle)'

export interface Share {
  cause: string
  /** Part of the samples in which the thread did anything for the service. */
  share: number
}

export interface HotFunction {
  /** `name file:line` */
  where: string
  share: number
}

export interface Told {
  causes: Share[]
  functions: HotFunction[]
  samples: number
}

/** @param functions so many of the hottest functions, by their own time */
export function tell({ nodes, samples = [] }: Profiler.Profile, functions: number): Told {
  const nodeOf = new Map(nodes.map((node) => [node.id, node]))
  const parentOf = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])))
  const causeOf = new Map<number, string>()
  const cause = (id: number): string => {
    let found = causeOf.get(id)
    if (found === undefined) {
      const { functionName, url } = nodeOf.get(id)!.callFrame
      const frame = `${functionName} ${url}`
      const parent = parentOf.get(id)
      found = causes.find((each) => each.frame.test(frame))?.name
      // The root of every stack is `(root)`, whose name would explain nothing.
      if (parent === undefined) found = REST
      found ??= cause(parent!)
      causeOf.set(id, found)
    }
    return found
  }
  /** Of a native function, what called it. */
  const callerOf = (id: number): string => {
    const parent = nodeOf.get(parentOf.get(id) ?? id)!.callFrame
    return `native, called by ${parent.functionName || parent.url.replace(/^.*\//, '')}`
  }
  const byCause = new Map<string, number>()
  const byFunction = new Map<string, number>()
  let counted = 0
  for (const id of samples) {
    const { functionName, url, lineNumber } = nodeOf.get(id)!.callFrame
    if (functionName === IDLE || cause(id) === MEASURING) continue
    counted++
    add(byCause, cause(id))
    const file = url.replace(/^.*?\/(?=(dist|node_modules)\/)/, '')
    const where = url === '' ? callerOf(id) : `${file}:${lineNumber + 1}`
    add(byFunction, `${functionName || '(anonymous)'} ${where}`)
  }
  const shares = (of: Map<string, number>) => [...of].sort(([, a], [, b]) => b - a)
  return {
    causes: shares(byCause).map(([cause, count]) => ({ cause, share: count / counted })),
    functions: shares(byFunction)
      .slice(0, functions)
      .map(([where, count]) => ({ where, share: count / counted })),
    samples: counted,
  }
}

function add(to: Map<string, number>, key: string): void {
  to.set(key, (to.get(key) ?? 0) + 1)
}
