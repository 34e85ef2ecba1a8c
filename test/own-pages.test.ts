/**
 * The commands of docs/own-domain.md and docs/own-backbone.md, as they stand there, from images or a network to an answer
 * of the service.
 *
 * Changed are only the interpreter, the place of files that they write, and the service's address; `facet` runs in this
 * process. Needs a Python with what training needs: the variable TRAINING_PYTHON names one.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { familyCommand } from '../src/commands/family.js'
import { SHIPPED_FAMILIES } from '../src/host/package.js'
import { runCommand } from './run-command.js'
import { runService } from './service-rig.js'

const ROOT = join(import.meta.dirname, '..')
const PYTHON = process.env.TRAINING_PYTHON ?? 'python3'
const needed = 'import numpy, onnx, PIL, safetensors, torch, tqdm'
const skip =
  spawnSync(PYTHON, ['-c', needed]).status === 0
    ? false
    : `${PYTHON} has not all of training/requirements.txt; TRAINING_PYTHON names another Python`

const FAMILY = 'npm run --silent facet -- family '

/** The shell commands of a page, in order. */
function commandsOf(page: string): string[] {
  const blocks = readFileSync(join(ROOT, page), 'utf8').matchAll(/^```sh\n([\s\S]*?)^```/gm)
  return [...blocks].map(([, block]) => block!.trim().replaceAll('\\\n', ''))
}

/** Runs a command of a page and returns what it printed. @param place instead of training/runs */
async function run(t: Test, command: string, place: string, url: string): Promise<string> {
  const here = command.replaceAll('training/runs', place).replaceAll('http://127.0.0.1:8080', url)
  if (here.startsWith(FAMILY)) {
    const { out, error } = await runCommand(familyCommand(), ...here.slice(FAMILY.length).split(/\s+/))
    t.equal(error, '', command)
    return out
  }
  const env = { ...process.env, OMP_NUM_THREADS: '1' }
  const child = spawn('bash', ['-c', `unset NODE_OPTIONS; ${here.replace(/^python /, `${PYTHON} `)}`], {
    cwd: ROOT,
    env,
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (!t.equal(code, 0, command)) t.comment(err)
  return out
}

t.test('a folder of images becomes a domain by the commands of the page', { skip }, async (t) => {
  const place = t.testdir()
  const families = SHIPPED_FAMILIES.flatMap((name) => ['--family', `models/${name}`])
  const { url } = await runService(t, [...families, '--data', join(place, 'data')])
  const [draw, train, put, ask, ...more] = commandsOf('docs/own-domain.md')
  t.same(more, [])
  await run(t, draw!, place, url)
  const trained = await run(t, train!, place, url)
  const accuracy = Number(/test accuracy ([\d.]+)%/.exec(trained)?.[1])
  t.ok(accuracy >= 75, `${accuracy}% of the test images are right; chance is 33`)
  t.match(trained, 'curl --fail -X PUT --data-binary @')
  t.match(JSON.parse(await run(t, put!, place, url)), { domain: 'shapes' })
  const answer = JSON.parse(await run(t, ask!, place, url))
  t.match(answer, { results: [{ domain: 'shapes', predictions: [{ label: 'ring' }] }] })
})

t.test('a network becomes a family with a domain by the commands of the page', { skip }, async (t) => {
  const place = t.testdir()
  const [convert, build, plan, some, check, draw, train, put, ask, ...more] =
    commandsOf('docs/own-backbone.md')
  t.same(more, [])
  await run(t, convert!, place, '')
  t.match(await run(t, build!, place, ''), /checked: features equal the backbone's within/)
  t.match(await run(t, plan!, place, ''), /^would open {2}design parallel: whole matrices/m)
  t.match(
    await run(t, some!, place, ''),
    /matrices at 17 of the 25 slots that take one \(--slots early\+late\)/,
  )
  t.match(await run(t, check!, place, ''), /fp32, f16 bank: features differ/)
  await run(t, draw!, place, '')
  t.match(await run(t, train!, place, ''), /test accuracy [\d.]+%/)
  const { url } = await runService(t, ['--family', join(place, 'backbone'), '--data', join(place, 'data')])
  t.match(JSON.parse(await run(t, put!, place, url)), { domain: 'shapes' })
  const answer = JSON.parse(await run(t, ask!, place, url))
  const labels = answer.results[0].predictions.map(({ label }: { label: string }) => label)
  t.same(labels.sort(), ['cross', 'disc', 'ring'])
})
