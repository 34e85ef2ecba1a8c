/** The processes that the real one starts to decode images: signals to all of them, and what is left of them after kills. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { compileProgram, ONE_FAMILY, Program } from './service-process.js'
import { pngImage } from './service-rig.js'
import { until } from './until.js'

const dir = t.testdir()
const cli = await compileProgram(dir)
const flags = [...ONE_FAMILY, '--port', '0', '--lanes', '1', '--bank-memory', '64MiB', '--max-batch', '8']
const avif = await sharp(await pngImage(1))
  .avif({ effort: 0 })
  .toBuffer()
const skip = existsSync('/proc/self/stat') ? false : 'this system has no /proc'

interface Running {
  pid: number
  parent: number
}

/** All processes of the machine but those that have ended and wait for their parent. */
function running(): Running[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      if (!/^\d+$/.test(name)) return []
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
      // The second field, the program's name, is in brackets and may contain spaces.
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return state === 'Z' ? [] : [{ pid: Number(name), parent: Number(parent) }]
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

/** The processes that a process has started, and those that these have, in this order. */
function below(pid: number, all = running()): number[] {
  const started = all.filter(({ parent }) => parent === pid)
  return started.flatMap((each) => [each.pid, ...below(each.pid, all)])
}

/** Resolves when none of the processes runs any more. */
function gone(pids: readonly number[]): Promise<void> {
  return until(() => !running().some(({ pid }) => pids.includes(pid)))
}

/** A service that has decoded an AVIF. */
async function serve(t: Test, data: string) {
  const program = new Program(cli, ['serve', ...flags, '--data', join(dir, data)])
  t.teardown(() => program.kill('SIGKILL'))
  const url = await program.url()
  const decode = async () => {
    const headers = { 'content-type': 'image/avif' }
    const body = new Uint8Array(avif)
    return (await fetch(`${url}/v1/domains/base/predict`, { method: 'POST', headers, body })).status
  }
  const before = below(program.pid)
  t.equal(await decode(), 200)
  const processes = below(program.pid)
  t.same([before.length, processes.length], [1, 2], 'a launcher, and the decoder that it has started')
  t.same(before, processes.slice(0, 1))
  return { program, decode, processes }
}

t.test('a signal to all its processes stops only the service, and opens no debugger', { skip }, async (t) => {
  const { program, decode, processes } = await serve(t, 'signals')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'])
    for (const pid of processes) process.kill(pid, signal)
  t.equal(await decode(), 200)
  t.same(below(program.pid), processes)
  program.kill('SIGTERM')
  t.match(await program.exit, { code: 0, err: '' })
  t.notOk(running().some(({ pid }) => processes.includes(pid)))
})

t.test(
  'a launcher that is killed takes its decoder with it, and the service goes on',
  { skip },
  async (t) => {
    const { program, processes } = await serve(t, 'launcher')
    process.kill(processes[0]!, 'SIGKILL')
    const told = await program.logged('the process that starts decoders has ended')
    t.match(told, { level: 40, reason: 'SIGKILL' })
    await gone(processes)
    program.kill('SIGTERM')
    t.match(await program.exit, { code: 0, err: '' })
  },
)

t.test('a service that is killed leaves no process, even where a decoder hangs', { skip }, async (t) => {
  const { program, processes } = await serve(t, 'killed')
  process.kill(processes[1]!, 'SIGSTOP')
  program.kill('SIGKILL')
  // They have its standard error, which is closed when all have ended; the kernel takes a moment more to say so.
  t.match(await program.exit, { signal: 'SIGKILL', err: '' })
  await gone(processes)
})
