/**
 * The commands of docs/own-domain.md, as they stand there, from drawn images to an answer of the service.
 *
 * Changed are only the interpreter, the place of files that they write, and the service's address. Needs a Python with
 * what training needs: the variable TRAINING_PYTHON names one.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runService } from './service-rig.js'

const ROOT = join(import.meta.dirname, '..')
const PYTHON = process.env.TRAINING_PYTHON ?? 'python3'
const needed = 'import numpy, onnx, PIL, safetensors, torch, tqdm'
const skip =
  spawnSync(PYTHON, ['-c', needed]).status === 0
    ? false
    : `${PYTHON} has not all of training/requirements.txt; TRAINING_PYTHON names another Python`

/** The shell commands of a page, in order. */
function commandsOf(page: string): string[] {
  const blocks = readFileSync(join(ROOT, page), 'utf8').matchAll(/^```sh\n([\s\S]*?)^```/gm)
  return [...blocks].map(([, block]) => block!.trim())
}

function run(command: string): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, OMP_NUM_THREADS: '1' }
  const child = spawn('bash', ['-c', `unset NODE_OPTIONS; ${command}`], { cwd: ROOT, env })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

t.test('a folder of images becomes a domain by the commands of the page', { skip }, async (t) => {
  const folder = t.testdir()
  const { url } = await runService(t)
  const commands = commandsOf('docs/own-domain.md')
  t.match(
    commands.map((command) => command.split(/\s+/).slice(0, 2).join(' ')),
    ['python training/shapes.py', 'python training/train.py', 'curl --fail', 'curl --fail'],
  )
  const outputs: string[] = []
  for (const command of commands) {
    const here = command
      .replaceAll('training/runs', folder)
      .replaceAll('http://127.0.0.1:8080', url)
      .replace(/^python /, `${PYTHON} `)
    const { code, out, err } = await run(here)
    if (!t.equal(code, 0, command)) t.comment(err)
    outputs.push(out)
  }
  const accuracy = Number(/test accuracy ([\d.]+)%/.exec(outputs[1]!)?.[1])
  t.ok(accuracy >= 75, `${accuracy}% of the test images are right; chance is 33`)
  t.match(outputs[1], 'curl --fail -X PUT --data-binary @')
  t.match(JSON.parse(outputs[2]!), { domain: 'shapes' })
  t.match(JSON.parse(outputs[3]!), { results: [{ domain: 'shapes', predictions: [{ label: 'ring' }] }] })
})
