/**
 * The load generator as a process of its own: `node load-process.js FOLDER JOB`, with the folder of JPEGs and a
 * `LoadJob` as JSON. Prints a line when the window begins, one when it ends, and then the result, each as JSON.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { load, type LoadJob } from './load.js'

const [folder, job] = process.argv.slice(2) as [string, string]
const images = readdirSync(folder)
  .filter((name) => name.endsWith('.jpg'))
  .sort()
  .map((name) => readFileSync(join(folder, name)))
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)

const result = await load(JSON.parse(job) as LoadJob, images, {
  now: () => performance.now(),
  cpuMs() {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
  pause: (ms) => pause(ms),
  said: (event) => say({ event }),
})
say({ event: 'result', ...result })
