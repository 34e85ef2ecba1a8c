/**
 * What deploy/ has for operators fits the service: a real Prometheus scrapes it, loads the alert rules, and answers every query of
 * the Grafana dashboard; Kubernetes and Compose files name what there is.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { settings } from '../src/config/settings.js'
import { family as first } from './engine-rig.js'
import { secondFamily } from './second-family.js'
import { pngImage, predict, runService } from './service-rig.js'
import { until } from './until.js'

const deploy = resolve('deploy')
const read = (file: string) => readFileSync(join(deploy, file), 'utf8')
/** Debian's package `prometheus` has both programs. */
const missing = (program: string) =>
  spawnSync(program, ['--version']).status !== 0 &&
  `there is no ${program} here (Debian: apt-get install prometheus)`
const skip = missing('promtool') || missing('prometheus')

interface Rule {
  alert: string
  expr: string
  annotations: { summary: string; runbook: string }
}
const rules = (parse(read('prometheus/alerts.yaml')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  ({ rules }) => rules,
)

interface Panel {
  title: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { expr: string }[]
}
const dashboard = JSON.parse(read('grafana/facet.json')) as {
  panels: Panel[]
  templating: { list: { name: string; definition?: string }[] }
}

/** The queries of the dashboard as Grafana sends them with all instances and families chosen. */
const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => ({
    title,
    expr: expr.replaceAll('$__rate_interval', '1m').replace(/\$(instance|family)/g, '.*'),
  })),
)

/** Metrics that an expression reads, buckets and sums by the name of their histogram. */
function metricsOf(expr: string): string[] {
  const names = expr.match(/\b(?:facet|process|nodejs)_[a-z0-9_]+|\bup\b/g) ?? []
  return [...new Set(names)]
}

t.test('every alert has its remedy in docs/operate.md, and the page names no other', async (t) => {
  const page = readFileSync('docs/operate.md', 'utf8')
  const headings = [...page.matchAll(/^### (Facet\w+)$/gm)].map(([, name]) => name)
  t.same(
    headings,
    rules.map(({ alert }) => alert),
  )
  for (const { alert, annotations } of rules)
    t.equal(annotations.runbook, `docs/operate.md#${alert.toLowerCase()}`)
})

t.test('the dashboard: panels fill the grid without overlapping', async (t) => {
  for (const [index, { title, gridPos: a }] of dashboard.panels.entries()) {
    t.ok(a.x >= 0 && a.x + a.w <= 24, title)
    for (const { title: other, gridPos: b } of dashboard.panels.slice(index + 1)) {
      const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
      t.ok(apart, `${title} and ${other}`)
    }
  }
})

t.test('alert rules hold under promtool, each fires for its trouble and not without', { skip }, async (t) => {
  for (const argv of [
    ['check', 'rules', 'alerts.yaml'],
    ['test', 'rules', 'alerts.test.yaml'],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', argv, {
      cwd: join(deploy, 'prometheus'),
      encoding: 'utf8',
    })
    t.equal(status, 0, `promtool ${argv.join(' ')}: ${stdout}${stderr}`)
  }
  const tested = (parse(read('prometheus/alerts.test.yaml')) as { tests: { name: string }[] }).tests
  t.same(
    tested.map(({ name }) => name),
    rules.map(({ alert }) => alert),
    'each is tested',
  )
})

/** Starts a Prometheus with the shipped configuration, its target changed to `url`. Resolves to its address, when it answers. */
async function runPrometheus(t: Test, url: string): Promise<string> {
  const config = parse(read('prometheus/prometheus.yaml')) as {
    global: object
    rule_files: string[]
    scrape_configs: { static_configs: { targets: string[] }[] }[]
  }
  config.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }
  config.rule_files = [join(deploy, 'prometheus/alerts.yaml')]
  config.scrape_configs[0]!.static_configs = [{ targets: [new URL(url).host] }]
  const dir = t.testdir({ 'prometheus.yml': stringify(config) })
  const flags = [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/tsdb`]
  const program: ChildProcess = spawn('prometheus', [...flags, '--web.listen-address=127.0.0.1:0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.teardown(async () => {
    program.kill('SIGKILL')
    if (program.exitCode === null && program.signalCode === null) await once(program, 'exit')
  })
  const lines: string[] = []
  for await (const line of createInterface(program.stderr!)) {
    lines.push(line)
    const [, address] = /msg="Listening on" address=(\S+)/.exec(line) ?? []
    if (address) {
      program.stderr!.resume()
      await until(async () => (await fetch(`http://${address}/-/ready`)).ok)
      return `http://${address}`
    }
  }
  throw new Error(lines.join('\n'))
}

t.test('a real Prometheus scrapes the service, and every query finds its metrics', { skip }, async (t) => {
  const dir = t.testdir()
  const second = await secondFamily(dir)
  const flags = ['--family', first.dir, '--family', second.dir, '--data', join(dir, 'data')]
  const { url } = await runService(t, flags)
  const image = await pngImage(1)
  for (const domain of ['resnet26-half', 'second', 'eurosat']) await predict(url, domain, image)
  const address = await runPrometheus(t, url)
  const ask = async <T>(path: string, query: Record<string, string> = {}): Promise<T> => {
    const answer = await fetch(`${address}/api/v1/${path}?${new URLSearchParams(query)}`)
    const { status, error, data } = (await answer.json()) as { status: string; error?: string; data: T }
    if (status !== 'success') throw new Error(`${path} ${JSON.stringify(query)}: ${error}`)
    return data
  }
  const value = async (query: string) =>
    (await ask<{ result: { value: [number, string] }[] }>('query', { query })).result
  await until(async () => (await value('up{job="facet"}'))[0]?.value[1] === '1')

  const expressions = [...queries.map(({ expr }) => expr), ...rules.map(({ expr }) => expr)]
  const names = new Set((await ask<string[]>('label/__name__/values')) as string[])
  const unknown = expressions.flatMap(metricsOf).filter((name) => !names.has(name))
  t.same([...new Set(unknown)], [], 'metrics that queries read and the service does not have')
  // Rates need a second reading, and some figures an event: of the others each has one.
  const isNow = ({ expr }: { expr: string }) => !/rate\(|specialised/.test(expr)
  for (const { title, expr } of queries) {
    const found = await value(expr)
    if (isNow({ expr })) t.not(found.length, 0, `${title}: ${expr}`)
  }
  t.ok(queries.filter(isNow).length > 10)
  for (const { definition } of dashboard.templating.list.filter(({ definition }) => definition)) {
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition!)!
    t.not((await ask<string[]>(`label/${label}/values`, { 'match[]': metric! })).length, 0, definition!)
  }
  const { groups } = await ask<{
    groups: { rules: { name: string; health: string; state: string }[] }[]
  }>('rules')
  const loaded = groups.flatMap(({ rules }) => rules)
  t.same(
    loaded.map(({ name }) => name),
    rules.map(({ alert }) => alert),
  )
  t.same(
    loaded.filter(({ state }) => state === 'firing'),
    [],
    'nothing is wrong with a service that was just started',
  )
})

/** Names of environment variables in a Kubernetes or Compose document. */
function variables(document: unknown): string[] {
  const text = JSON.stringify(document)
  return [...new Set(text.match(/\bFACET_[A-Z_]+/g) ?? [])]
}

t.test('Compose and Kubernetes files name files and variables that there are', async (t) => {
  const known = new Set([
    'FACET_ADMIN_TOKEN',
    'FACET_PREDICT_TOKEN',
    ...Object.keys(settings).map((key) => `FACET_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`),
  ])
  const compose = parse(read('compose.yaml')) as { services: Record<string, { volumes: string[] }> }
  for (const { volumes } of Object.values(compose.services))
    for (const volume of volumes.filter((volume) => volume.startsWith('./')))
      t.ok(existsSync(join(deploy, volume.split(':')[0]!)), volume)
  t.same(
    variables(compose).filter((name) => !known.has(name)),
    [],
  )
  const { environment } = (compose.services as Record<string, { environment?: Record<string, unknown> }>)[
    'facet-server'
  ]!
  for (const [name, value] of Object.entries(environment!))
    t.notMatch(String(value), /:-\}$/, `${name}: an empty value would be taken for one`)
  for (const overlay of ['replicas', 'single']) {
    const folder = join(deploy, 'kubernetes', overlay)
    const files = readdirSync(folder)
    const { resources, patches = [] } = parse(read(`kubernetes/${overlay}/kustomization.yaml`)) as {
      resources: string[]
      patches?: { path: string }[]
    }
    const named = [...resources.filter((path) => !path.includes('/')), ...patches.map(({ path }) => path)]
    t.same(new Set(['kustomization.yaml', ...named]), new Set(files), `${overlay}: all of its files`)
    for (const file of files)
      for (const document of parseAllDocuments(read(`kubernetes/${overlay}/${file}`))) {
        t.same(document.errors, [], file)
        t.same(
          variables(document.toJS()).filter((name) => !known.has(name)),
          [],
          file,
        )
      }
  }
})
