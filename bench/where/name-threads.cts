/**
 * Names the threads that a process has from its start, so that `/proc` tells them apart: V8's helpers and libuv's pool.
 * Loaded with `--require`, before anything else. Lanes of the native runtime and libvips' workers have names already.
 */
import fs = require('node:fs')
import workers = require('node:worker_threads')

const TASKS = '/proc/self/task'

function name(threads: readonly string[], as: string): void {
  for (const thread of threads) fs.writeFileSync(`${TASKS}/${thread}/comm`, as)
}

if (workers.isMainThread) {
  const atStart = fs.readdirSync(TASKS)
  name(
    atStart.filter((thread) => thread !== String(process.pid)),
    'v8',
  )
  // The first asynchronous call starts all threads of the pool before it returns.
  fs.stat('/', () => {})
  name(
    fs.readdirSync(TASKS).filter((thread) => !atStart.includes(thread)),
    'pool',
  )
}
