/** `--prediction-log`: what is in it, that it is rotated, and that nothing waits for it. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { PredictResult } from '../src/predict/predictor.js'
import { PredictionLog } from '../src/serve/prediction-log.js'
import { ManualClock } from './manual-clock.js'
import { pngImage, predict, runService } from './service-rig.js'
import { until } from './until.js'

const VERSION = 'a'.repeat(64)
const result = (logits: number[]): PredictResult => ({
  domain: 'shop',
  version: VERSION,
  labels: logits.map((_, index) => `label-${index}`),
  activation: 'softmax',
  logits: Float32Array.from(logits),
  features: new Float32Array(0),
})

/** A log in a folder of its own; `warnings` are what the service's log says of it. */
async function open(dir: string, own: { bytes?: number; files?: number } = {}) {
  const warnings: object[] = []
  const clock = new ManualClock()
  const logger = { warn: (fields: object, message: string) => void warnings.push({ ...fields, message }) }
  const path = join(dir, 'predictions.jsonl')
  const log = await PredictionLog.open({
    path,
    bytes: 4096,
    files: 2,
    ...own,
    logger: logger as never,
    clock,
  })
  return { log, path, warnings, clock }
}

const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

t.test('a line for each image: what was told to whom, and no image', async (t) => {
  const { log, path, warnings } = await open(t.testdir())
  log.record('request-1', [result([0, Math.log(3)]), result([5, 5])])
  await log.close()
  t.same(linesOf(path), [
    {
      time: '2026-01-01T00:00:00.000Z',
      requestId: 'request-1',
      domain: 'shop',
      version: VERSION,
      label: 'label-1',
      index: 1,
      score: 0.75,
    },
    {
      time: '2026-01-01T00:00:00.000Z',
      requestId: 'request-1',
      domain: 'shop',
      version: VERSION,
      label: 'label-0',
      index: 0,
      score: 0.5,
    },
  ])
  t.equal(statSync(path).mode & 0o777, 0o600, 'for the user of the service alone')
  t.same(warnings, [])
})

t.test('it goes on where it ended, and is rotated; so many files are kept', async (t) => {
  const dir = t.testdir({ 'predictions.jsonl': '{"requestId":"before"}\n' })
  const { log, path } = await open(dir)
  const written = ['before']
  const rotated = () => readdirSync(dir).length
  for (let count = 0; rotated() < 3; count++) {
    written.push(`request-${count}`)
    log.record(`request-${count}`, [result([1, 2])])
    await until(() =>
      readdirSync(dir).some((name) => readFileSync(join(dir, name), 'utf8').includes(`request-${count}"`)),
    )
  }
  await log.close()
  t.same(readdirSync(dir).sort(), ['predictions.jsonl', 'predictions.jsonl.1', 'predictions.jsonl.2'])
  const kept = [`${path}.2`, `${path}.1`, path].flatMap((file) =>
    linesOf(file).map(({ requestId }) => requestId),
  )
  t.same(kept, written, 'in order, none lost and none twice')
  t.ok(statSync(`${path}.1`).size <= 4096 + 300)
})

t.test('a file that cannot be written is told at the start', async (t) => {
  await t.rejects(open(join(t.testdir(), 'none')), { message: /--prediction-log.*none.*Name a file/s })
})

t.test('where the disk takes no lines they are dropped and counted, and later it goes on', async (t) => {
  const dir = t.testdir()
  const { log, path, warnings, clock } = await open(dir)
  rmSync(path)
  mkdirSync(path)
  log.record('lost-1', [result([1])])
  await until(() => warnings.length > 0)
  log.record('lost-2', [result([1])])
  log.record('lost-3', [result([1]), result([1])])
  t.match(warnings, [{ message: 'the prediction log cannot be written' }])
  rmdirSync(path)
  clock.advance(10_000)
  log.record('kept', [result([1])])
  await log.close()
  t.same(
    linesOf(path).map(({ requestId }) => requestId),
    ['kept'],
  )
  t.match(warnings[1], { message: 'predictions were not logged', lines: 3 })
})

t.test('lines that a slow disk does not take are dropped, and the log says so once a minute', async (t) => {
  const { log, path, warnings, clock } = await open(t.testdir(), { bytes: 2 ** 30 })
  const long = { ...result([1]), labels: ['x'.repeat(2 ** 20)] }
  // The stream has no chance to write before the last of these.
  const many = 40
  for (let count = 0; count < many; count++) {
    log.record(`request-${count}`, [long])
    if (count % 10 === 9) clock.advance(30_000)
  }
  await log.close()
  const told = warnings.reduce<number>((sum, { lines }: { lines?: number }) => sum + (lines ?? 0), 0)
  t.equal(told + linesOf(path).length, many, 'each is written, or told')
})

t.test('the service writes predictions, and no embeddings', async (t) => {
  const path = join(t.testdir({ data: {} }), 'predictions.jsonl')
  const data = join(t.testdirName, 'data')
  const { url, service } = await runService(t, ['--prediction-log', path, '--data', data])
  const image = await pngImage(1)
  const { predictions, version } = await predict(url, 'eurosat', image)
  const form = new FormData()
  for (const domain of ['eurosat', 'gtsrb']) form.append(domain, new Blob([image]), 'image.png')
  await fetch(`${url}/v1/predict`, { method: 'POST', body: form, headers: { 'x-request-id': 'mixed' } })
  const headers = { 'content-type': 'image/png' }
  await fetch(`${url}/v1/domains/eurosat/embed`, { method: 'POST', body: image, headers })
  await fetch(`${url}/v1/domains/eurosat/predict`, { method: 'POST', body: 'no image', headers })
  await service.stop()
  t.match(linesOf(path), [
    { domain: 'eurosat', version, ...predictions[0] },
    { requestId: 'mixed', domain: 'eurosat' },
    { requestId: 'mixed', domain: 'gtsrb' },
  ])
  t.equal(linesOf(path).length, 3)
})
