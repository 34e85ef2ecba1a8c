/** Processes that end while native lanes run: they neither crash nor hang, whatever ends them. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nativeFile } from '../src/native/addon.js'
import { compileProgram } from './service-process.js'

/** How often each way to end is tried: without care a quarter of the processes that open the graphs crash. */
const TIMES = { exit: 6, opening: 12, device: 4, worker: 6, throws: 3 }

const dir = t.testdir()
await compileProgram(dir, ['src', 'test/engine-process.ts'], nativeFile())
const child = join(dir, 'test', 'engine-process.js')
const skip = !existsSync(nativeFile()) && 'it is not built: npm run native:build'

interface End {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

function end(how: string, ...place: 'device'[]): Promise<End> {
  return new Promise((resolve) => {
    const started = execFile(process.execPath, [child, how, 'native', ...place], (_, stdout, stderr) => {
      resolve({ code: started.exitCode, signal: started.signalCode, stdout, stderr })
    })
  })
}

const ways = {
  exit: 'process.exit() in the middle of runs',
  opening: 'process.exit() while the graphs are opened',
  worker: 'a worker thread that has the lanes is ended, then the process',
} as const

for (const how of ['exit', 'opening', 'worker'] as const)
  t.test(ways[how], { skip }, async (t) => {
    for (let time = 1; time <= TIMES[how]; time++)
      t.same(await end(how), { code: 7, signal: null, stdout: '', stderr: '' }, `time ${time}`)
  })

t.test('process.exit() while the graphs are opened over a bank on a device', { skip }, async (t) => {
  for (let time = 1; time <= TIMES.device; time++)
    t.same(await end('opening', 'device'), { code: 7, signal: null, stdout: '', stderr: '' }, `time ${time}`)
})

t.test('an error that nobody catches, in the middle of runs', { skip }, async (t) => {
  for (let time = 1; time <= TIMES.throws; time++)
    t.match(await end('throws'), { code: 1, signal: null, stderr: /Error: nobody catches this/ })
})

t.test(
  'a worker thread that has loaded the add-on ends, and the lanes of the process go on',
  { skip },
  async (t) => {
    t.same(await end('beside'), { code: 7, signal: null, stdout: 'answered 1\n', stderr: '' })
  },
)

t.test('an engine that is stopped in the middle of a run', { skip }, async (t) => {
  t.same(await end('stops'), { code: 0, signal: null, stdout: 'answered 32\nstopped\n', stderr: '' })
})
