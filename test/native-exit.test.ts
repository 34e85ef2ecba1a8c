/** Processes that end while native lanes run: they neither crash nor hang, whatever ends them. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { nativeFile } from '../src/engine/runtime/native.js'

/** How often each way to end is tried: without care a quarter of the processes that open the graphs crash. */
const TIMES = { exit: 6, opening: 12, worker: 6, throws: 3 }

const child = fileURLToPath(new URL('./native-exit-process.ts', import.meta.url))
const loader = process.execArgv.filter((argument) => argument.includes('loader/register'))
const skip = !existsSync(nativeFile()) && 'it is not built: npm run native:build'

interface End {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

function end(how: string): Promise<End> {
  return new Promise((resolve) => {
    const started = execFile(process.execPath, [...loader, child, how], (_, __, stderr) => {
      resolve({ code: started.exitCode, signal: started.signalCode, stderr })
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
      t.same(await end(how), { code: 7, signal: null, stderr: '' }, `time ${time}`)
  })

t.test('an error that nobody catches, in the middle of runs', { skip }, async (t) => {
  for (let time = 1; time <= TIMES.throws; time++)
    t.match(await end('throws'), { code: 1, signal: null, stderr: /Error: nobody catches this/ })
})
