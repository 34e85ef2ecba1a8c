/**
 * `npm run decoder-start -- [--starts N]`: how long starting a process that decodes holds the thread that does HTTP, in a
 * process of little memory and of more: through the launcher, and without it.
 *
 * Each start is beside one of the other kind, and beside a stretch in which nothing is started. The last line is JSON.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../src/concurrency/clock.js'
import { LauncherClient } from '../src/image/apart/launcher-client.js'
import { command, natural } from './command.js'
import { HeldMeter } from './livez/held.js'
import { machine } from './machine.js'
import { privateBytes } from './processes.js'
import { quantile } from './statistics.js'

const MEMORY_MB = [0, 400, 1000]
/** How long the thread is watched after a start, ms: the kernel copies a page when it is next written. */
const WATCHED_MS = 50

const { starts } = command(
  'decoder-start',
  'How long starting a process that decodes holds the thread that does HTTP.',
)
  .option('--starts <n>', 'of each kind, with each size of memory', natural, 25)
  .parse()
  .opts<{ starts: number }>()
const decoder = fileURLToPath(new URL('../src/image/apart/decoder.js', import.meta.url))
const launcher = new LauncherClient({ clock: systemClock })
const meter = new HeldMeter()

/** Starts a process, and returns what ends it. */
type Start = () => Promise<() => Promise<unknown>>
const kinds: Record<string, Start> = {
  nothing: async () => async () => {},
  launcher: async () => {
    const child = launcher.start()
    const stream = await child.stream
    return async () => {
      stream.destroy()
      child.kill()
      await child.end
    }
  },
  spawn: async () => {
    const child = spawn(process.execPath, [decoder], { stdio: ['pipe', 'ignore', 'inherit'] })
    return async () => {
      child.kill('SIGKILL')
      await once(child, 'close')
    }
  },
}

const ballast: Buffer[] = []
const rows = []
for (const megabytes of MEMORY_MB) {
  while (ballast.length < megabytes) ballast.push(Buffer.alloc(1e6, 1))
  const held: Record<string, number[]> = {}
  for (let start = 0; start < starts; start++)
    for (const [kind, begin] of Object.entries(kinds)) {
      meter.start()
      const end = await begin()
      await new Promise((resolve) => setTimeout(resolve, WATCHED_MS))
      held[kind] = [...(held[kind] ?? []), meter.stop().ms]
      await end()
    }
  const privateMB = Math.round(privateBytes(process.pid) / 1e6)
  rows.push({ megabytes, privateMB, held })
  const cells = Object.entries(held).map(([kind, ms]) => {
    return `${kind} ${quantile(ms, 0.5).toFixed(1)} (most ${quantile(ms, 1).toFixed(1)}) ms`
  })
  console.log(`${privateMB} MB private: held by ${cells.join(', ')}`)
}
meter.close()
await launcher.stop()
console.log(JSON.stringify({ rows, machine: machine() }))
