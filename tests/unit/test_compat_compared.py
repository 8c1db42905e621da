"""Two instances of one configuration are equal, also where methods of their own are among what is compared."""

from locum.schedulers.comparing import compared
from locum.tests.support.written_for_buildbot import imported

of_changes, of_people = imported("of_changes"), imported("of_people")


def test_a_filter_that_is_a_method_of_the_scheduler_is_the_same_in_each_instance():
    make = lambda platform: of_changes.PlatformScheduler(platform, "main", builderNames=["unit"])  # noqa: E731
    assert compared(make("mac")) == compared(make("mac")) != compared(make("gtk"))


def test_importance_said_by_a_method_is_the_same_in_each_instance():
    class Important(of_changes.SingleBranchScheduler):
        def fileIsImportant(self, change):
            return True

    class Other(Important):
        def fileIsImportant(self, change):
            return False

    make = lambda cls: cls("s", ["unit"], branch="main")  # noqa: E731
    assert compared(make(Important)) == compared(make(Important)) != compared(make(Other))


def test_another_object_s_method_is_compared_as_it_is():
    class Chooser:
        def yes(self, change):
            return True

    one, other = Chooser(), Chooser()
    make = lambda chooser: of_changes.SingleBranchScheduler(  # noqa: E731
        "s", ["unit"], change_filter=of_changes.ChangeFilter(filter_fn=chooser.yes)
    )
    assert compared(make(one)) == compared(make(one)) != compared(make(other))


def test_arguments_taken_by_methods_are_compared_like_others():
    make = lambda every: of_people.ServiceScheduler(name="s", builderNames=["unit"], every=every)  # noqa: E731
    assert compared(make(2)) == compared(make(2)) != compared(make(3))
