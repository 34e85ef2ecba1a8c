/** How measurements are called: each says what it takes, and refuses anything else in one line. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compileProgram } from './service-process.js'

const dir = t.testdir()
await compileProgram(dir, ['src', 'bench', 'test'])
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
const commands = Object.entries(scripts).flatMap(([name, script]) => {
  const file = /node dist\/(bench\/.*\.js)/.exec(script)?.[1]
  return file === undefined ? [] : [{ name, file: join(dir, file) }]
})

function call(file: string, ...args: string[]) {
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const started = execFile(process.execPath, [file, ...args], (_, stdout, stderr) => {
      resolve({ code: started.exitCode, stdout, stderr })
    })
  })
}

t.test('all refuse what they do not know', async (t) => {
  t.ok(commands.length > 10, 'they are found')
  for (const { name, file } of commands) {
    const { code, stdout, stderr } = await call(file, '--nonsense')
    t.same([code, stdout], [2, ''], name)
    t.match(stderr, /^error: .*\n$/)
  }
})

t.test('they say what they take', async (t) => {
  for (const { name, file } of commands.filter(({ name }) =>
    ['livez', 'naive', 'bench:bound'].includes(name),
  )) {
    const help = await call(file, '--help')
    t.match(help, { code: 0, stderr: '' })
    t.equal(help.stdout.split('\n')[0]!.startsWith(`Usage: npm run ${name} -- [options]`), true, help.stdout)
  }
})

t.test('a value that cannot be used is refused in one line', async (t) => {
  const file = (wanted: string) => commands.find(({ name }) => name === wanted)!.file
  const cases: [string, string[]][] = [
    ['fuzz', ['--packs', '-1']],
    ['livez', ['--limit', 'fast']],
    ['livez', ['--only', '(']],
    ['fairness', ['--only', 'flood,nobody']],
    ['fairness', ['--rounds', '0']],
    ['bench', ['--only', 'nothing']],
    ['naive', ['first']],
    ['soak', ['now']],
  ]
  for (const [name, args] of cases) {
    const { code, stdout, stderr } = await call(file(name), ...args)
    t.same([code, stdout], [2, ''], `${name} ${args.join(' ')}`)
    t.match(stderr, /^error: .*\n$/)
  }
})
