# A service that behaves badly: NAME SEED. What it does follows from the seed, its name and
# how often it has run. It writes down the beginning and the end of each of its processes:
# "born PID ROLE" and "end PID ROLE STATUS". Of the roles "service" is the child itself,
# "near" who stays in its process group, and is told to end when a restart is due, "far" who
# has left it. It sleeps because that is what it is for: to live for a while.
import os, signal as s, sys, time
name, seed, home = sys.argv[1], int(sys.argv[2]), os.environ["DIR"]
for n in [s.SIGHUP, s.SIGUSR1, s.SIGUSR2, s.SIGWINCH, s.SIGALRM, s.SIGIO, s.SIGPWR, s.SIGTTIN, s.SIGTTOU, *range(35, 65)]:
    s.signal(n, s.SIG_IGN) # the main child has those that the test sends to the init
log = os.open(home + "/lives", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
runs = os.open(home + "/runs-" + name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
os.write(runs, b".")
x = seed + 7919 * int(name) + 104729 * os.fstat(runs).st_size

def pick(n): # a number below n (Knuth's MMIX)
    global x
    x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
    return (x >> 33) % n

def note(*what):
    os.write(log, (" ".join(map(str, what)) + "\n").encode())

def live(most):
    time.sleep(pick(most) / 1000)

def end(role):
    if pick(3):
        code = pick(256)
        note("end", os.getpid(), role, code << 8)
        os._exit(code)
    n = (s.SIGKILL, s.SIGTERM, s.SIGHUP, s.SIGUSR1, s.SIGINT, 40)[pick(6)]
    note("end", os.getpid(), role, int(n))
    if n != s.SIGKILL:
        s.signal(n, s.SIG_DFL)
    os.kill(os.getpid(), n)

def offspring(role, depth):
    global x
    hear, tell = os.pipe()
    x += 1
    if os.fork():
        os.close(tell)
        os.read(hear, 1) # until it has left our group, or will not
        os.close(hear)
        return
    x += depth + 1
    if role == "service":
        role = ("near", "far")[pick(2)]
        if role == "far":
            os.setsid()
    note("born", os.getpid(), role)
    os.close(hear)
    os.close(tell)
    if pick(4) == 0:
        s.signal(s.SIGTERM, s.SIG_IGN)
    if depth < 3 and pick(3) == 0:
        offspring(role, depth + 1)
    if pick(30) == 0:
        os.kill(os.getpid(), s.SIGSTOP) # until TERM, and the SIGCONT behind it
    live(1000 if pick(10) == 0 else 40)
    end(role)

def halt(): # and be woken by a child
    if os.fork() == 0:
        note("born", os.getpid(), "near")
        live(20)
        os.kill(os.getppid(), s.SIGCONT)
        end("near")
    os.kill(os.getpid(), s.SIGSTOP)

note("born", os.getpid(), "service")
if pick(4) == 0:
    s.signal(s.SIGTERM, s.SIG_IGN)
for n in range(pick(4)):
    offspring("service", 0)
if pick(10) == 0:
    halt()
live(300 if pick(10) == 0 else 20)
end("service")
